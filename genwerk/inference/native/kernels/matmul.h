// y = x W^T for packed W: floats are summed over the inputs in their order, whole numbers exactly, whatever else is computed
// beside an output element, so a row's result is the same alone or among many.
#pragma once

#include "model.h"
#include "pool.h"
#include "tiles.h"
#include "vector.h"

namespace genwerk {

constexpr int PANEL = 32;  // outputs that are computed together, inputs that share a scale in INT4, positions in a cache block
constexpr int TURNED = 64;  // inputs that are turned together (see `turn_row`)

// Bytes of a row or an output in INT8: its inputs filled up.
static inline int depth(int inputs) { return (inputs + TURNED - 1) / TURNED * TURNED; }

// Rows of activations for one product: as they are, or as integers, with one scale per row for INT8 and one per 32
// inputs for INT4.
struct Rows {
    const float* tiles = nullptr;    // [rows / 12][inputs][12], the last tile as narrow as it must be
    const int8_t* whole = nullptr;   // [rows][depth] (INT8), [rows][inputs] (INT4)
    const float* scale = nullptr;    // [rows] or [rows][inputs / 32]
    const float* total = nullptr;    // INT4: [rows][inputs / 32], the sum of the group's numbers, scaled
    const int32_t* shift = nullptr;  // INT8: [rows], -128 times the sum of the row's numbers, as weights are kept with 128 added
};

static inline float top_of(I magnitudes) {
    const int32_t bits = largest(magnitudes);
    float top;
    std::memcpy(&top, &bits, sizeof top);
    if (bits >= 0x7f800000) top = NAN;  // a broken model must not turn into text
    return top < 1e-30f ? 0.0f : top;   // else 127 / top would be infinite
}

static inline I store_whole(int8_t* to, F value) {
    typedef int8_t Sixteen __attribute__((vector_size(16)));
    const I whole = __builtin_convertvector(nearest(value), I);
    const Sixteen bytes = __builtin_convertvector(whole, Sixteen);
    std::memcpy(to, &bytes, LANES);
    return whole;
}

// One row for INT4: per group of 32, q = nearest(127 x / max |x|). NaN and infinity make the group's scale NaN.
static inline void quantise_groups(const float* x, int inputs, int8_t* whole, float* scale, float* total) {
    for (int group = 0; group < inputs / PANEL; ++group, x += PANEL, whole += PANEL) {
        const F low = load(x), high = load(x + LANES);
        const float top = top_of(larger(magnitude(low), magnitude(high))), inverse = top > 0 ? 127.0f / top : 0.0f;
        const I a = store_whole(whole, low * inverse), b = store_whole(whole + LANES, high * inverse);
        scale[group] = top / 127.0f;
        total[group] = scale[group] * float(sum(a + b));
    }
}

// Every 64 inputs of a row are turned by the Hadamard matrix, as the weights are (pack.py), which leaves products as they
// are but for 8 squared, and spreads outliers. Returns the largest magnitude.
static inline float turn_row(const float* x, int inputs, float* turned) {
    I most = I{};
    for (int i = 0; i < depth(inputs); i += TURNED) {
        F part[4];
        for (int j = 0; j < 4; ++j) part[j] = i + LANES * j < inputs ? load(x + i + LANES * j) : F{};
        hadamard(part);
        for (int j = 0; j < 4; ++j) store(turned + i + LANES * j, part[j]), most = larger(most, magnitude(part[j]));
    }
    return top_of(most);
}

// One row for INT8, turned: q = nearest(127 x / max |x|) over the row. Returns the row's shift.
static inline int32_t quantise_turned(const float* x, int inputs, int8_t* whole, float* scale) {
    static thread_local Lines<float> memory;  // adapters and routers still read `x`
    const int filled = depth(inputs);
    if (memory.size() < size_t(filled)) memory.resize(size_t(filled));
    float* turned = memory.data();
    const float top = turn_row(x, inputs, turned), inverse = top > 0 ? 127.0f / top : 0.0f;
    I total = I{};
    for (int i = 0; i < filled; i += LANES) total += store_whole(whole + i, load(turned + i) * inverse);
    *scale = top / 127.0f * 0.125f;  // the matrix is orthogonal when divided by 8
    return -128 * sum(total);
}

// Asks memory for the bytes that come next but some. Reading alone is foreseen by the processor, but between products of
// several rows too late. The first block of rows does it for all.
template <int SIZE>
static inline void fetch_ahead(const void* weights) {
    constexpr int AHEAD = 4096;
    for (int line = 0; line < SIZE; line += LINE) __builtin_prefetch(static_cast<const uint8_t*>(weights) + AHEAD + line);
}

// M rows times one panel; `out` is [M][32].
template <int M>
static void tile_float(const Matrix& w, int panel, const Rows& x, int row, float* out) {
    const float* weights = static_cast<const float*>(w.data) + int64_t(panel) * w.inputs * PANEL;
    const float* a = x.tiles + int64_t(row) * w.inputs;
    F acc[M][2] = {};
    for (int k = 0; k < w.inputs; ++k, weights += PANEL, a += M) {
        if (row == 0) fetch_ahead<4 * PANEL>(weights);
        const F left = load(weights), right = load(weights + LANES);
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            const F value = all(a[m]);
            acc[m][0] += value * left;
            acc[m][1] += value * right;
        }
    }
    for (int m = 0; m < M; ++m) store(out + PANEL * m, acc[m][0]), store(out + PANEL * m + LANES, acc[m][1]);
}

// Whole numbers are exact, so what they stand for is the same however they were added up.
static inline F value_of(I whole, float row, F output) { return to_float(whole) * row * output; }

template <int M>
static void tile_int8(const Matrix& w, int panel, const Rows& x, int row, float* out) {
    const int filled = depth(w.inputs);
    const uint8_t* weights = static_cast<const uint8_t*>(w.data) + int64_t(panel) * filled * PANEL;
    const int8_t* a = x.whole + int64_t(row) * filled;
    I acc[M][2];
    for (int m = 0; m < M; ++m) acc[m][0] = acc[m][1] = all(x.shift[row + m]);
    for (int k = 0; k < filled; k += 4, weights += 4 * PANEL, a += 4) {
        if (row == 0) fetch_ahead<4 * PANEL>(weights);
        const Bytes left = load_bytes(weights), right = load_bytes(weights + 64);
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            acc[m][0] = dot(acc[m][0], left, a + int64_t(m) * filled);
            acc[m][1] = dot(acc[m][1], right, a + int64_t(m) * filled);
        }
    }
    const F left = load(w.scale + panel * PANEL), right = load(w.scale + panel * PANEL + LANES);
    for (int m = 0; m < M; ++m) {
        store(out + PANEL * m, value_of(acc[m][0], x.scale[row + m], left));
        store(out + PANEL * m + LANES, value_of(acc[m][1], x.scale[row + m], right));
    }
}

#if defined(__AMX_INT8__)

// Up to 32 rows in tile registers; `whole` holds whole tiles of rows.
static void tiles_int8(const Matrix& w, int panel, const Rows& x, int row, int rows, float* out) {
    const int filled = depth(w.inputs);
    const uint8_t* weights = static_cast<const uint8_t*>(w.data) + int64_t(panel) * filled * PANEL;
    const int8_t* a = x.whole + int64_t(row) * filled;
    const bool two = rows > LANES;
    zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>();
    for (int k = 0; k < filled; k += TURNED, weights += TURNED * PANEL, a += TURNED) {
        if (row == 0) fetch_ahead<TURNED * PANEL>(weights);
        load_tile<4>(a, filled);
        load_tile<6>(weights, 4 * PANEL);
        load_tile<7>(weights + TURNED, 4 * PANEL);
        add_byte_products<0, 4, 6>();
        add_byte_products<1, 4, 7>();
        if (!two) continue;
        load_tile<5>(a + LANES * filled, filled);
        add_byte_products<2, 5, 6>();
        add_byte_products<3, 5, 7>();
    }
    store_tile<0>(out, 4 * PANEL);
    store_tile<1>(out + LANES, 4 * PANEL);
    if (two) store_tile<2>(out + LANES * PANEL, 4 * PANEL), store_tile<3>(out + LANES * PANEL + LANES, 4 * PANEL);
    const F left = load(w.scale + panel * PANEL), right = load(w.scale + panel * PANEL + LANES);
    for (int m = 0; m < rows; ++m, out += PANEL) {
        I whole[2];
        std::memcpy(whole, out, sizeof whole);
        store(out, value_of(whole[0] + x.shift[row + m], x.scale[row + m], left));
        store(out + LANES, value_of(whole[1] + x.shift[row + m], x.scale[row + m], right));
    }
}

#endif

constexpr int HALF_GROUP = 640;  // bytes of 32 inputs and 32 outputs in half bytes

template <int M>
static void tile_int4(const Matrix& w, int panel, const Rows& x, int row, float* out) {
    const int groups = w.inputs / PANEL;
    const uint8_t* weights = static_cast<const uint8_t*>(w.data) + int64_t(panel) * groups * HALF_GROUP;
    const int8_t* a = x.whole + int64_t(row) * w.inputs;
    const float* scale = x.scale + int64_t(row) * groups;
    const float* total = x.total + int64_t(row) * groups;
    F acc[M][2] = {};
    for (int group = 0; group < groups; ++group, a += PANEL, weights += HALF_GROUP) {
        if (row == 0) fetch_ahead<HALF_GROUP>(weights);
        I part[M][2] = {};
#pragma GCC unroll 4
        for (int four = 0; four < 16; four += 4) {
            const Bytes left = load_bytes(weights + 32 * four), right = load_bytes(weights + 32 * four + 64);
            const Bytes low[2] = {low_halves(left), low_halves(right)}, high[2] = {high_halves(left), high_halves(right)};
#pragma GCC unroll 16
            for (int m = 0; m < M; ++m) {
                const int8_t* from = a + int64_t(m) * w.inputs + four;
                part[m][0] = dot(dot(part[m][0], low[0], from), high[0], from + 16);
                part[m][1] = dot(dot(part[m][1], low[1], from), high[1], from + 16);
            }
        }
        const uint16_t* facts = reinterpret_cast<const uint16_t*>(weights + 512);
        const F step[2] = {load_half(facts), load_half(facts + 16)};
        const F lowest[2] = {load_half(facts + 32), load_half(facts + 48)};
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            for (int half = 0; half < 2; ++half) {
                acc[m][half] += to_float(part[m][half]) * (step[half] * scale[m * groups + group]);
                acc[m][half] += lowest[half] * total[m * groups + group];
            }
        }
    }
    for (int m = 0; m < M; ++m) store(out + PANEL * m, acc[m][0]), store(out + PANEL * m + LANES, acc[m][1]);
}

typedef void (*Tile)(const Matrix&, int, const Rows&, int, float*);
constexpr int MOST_TOGETHER = 12, MOST_INT4 = 6;  // of a tile
#define GENWERK_TILES(tile) tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>
#define GENWERK_MORE_TILES(tile) tile<7>, tile<8>, tile<9>, tile<10>, tile<11>, tile<12>
constexpr Tile TILES_FLOAT[] = {GENWERK_TILES(tile_float), GENWERK_MORE_TILES(tile_float)};
constexpr Tile TILES_INT8[] = {GENWERK_TILES(tile_int8), GENWERK_MORE_TILES(tile_int8)};
constexpr Tile TILES_INT4[] = {GENWERK_TILES(tile_int4)};

// Rows of one panel whose values are at hand together.
constexpr int MOST_BLOCK = 2 * LANES;
typedef float Values[MOST_BLOCK * PANEL];
static inline bool in_tiles(const Matrix& w, int count) {
#if defined(__AMX_INT8__)
    return w.format == INT8 && count > MOST_TOGETHER;
#else
    return false;
#endif
}
static inline int block_rows(const Matrix& w, int count) { return in_tiles(w, count) ? MOST_BLOCK : 2 * MOST_TOGETHER; }

// One panel for `rows` of the `count` rows of `x` from `row` on, a block at most; `out` is [rows][32].
static inline void block_product(const Matrix& w, int panel, const Rows& x, int row, int rows, int count, float* out) {
#if defined(__AMX_INT8__)
    if (in_tiles(w, count)) {
        tiles_int8(w, panel, x, row, rows, out);
    } else
#endif
    {
        const int most = w.format == INT4 ? MOST_INT4 : MOST_TOGETHER;
        const Tile* tiles = w.format == FLOAT32 ? TILES_FLOAT : w.format == INT8 ? TILES_INT8 : TILES_INT4;
        for (int done = 0, some; done < rows; done += some) {
            some = rows - done < most ? rows - done : most;
            tiles[some - 1](w, panel, x, row + done, out + done * PANEL);
        }
    }
    if (!w.bias) return;
    const F left = load(w.bias + int64_t(panel) * PANEL), right = load(w.bias + int64_t(panel) * PANEL + LANES);
    for (int m = 0; m < rows; ++m, out += PANEL) store(out, load(out) + left), store(out + LANES, load(out + LANES) + right);
}

// finish(first row, rows, values) for each block of rows, with the values of N panels from `panel` on, [N][rows][32].
template <int N, class Finish>
static inline void panel_product(const Matrix& w, int panel, const Rows& x, int count, const Finish& finish) {
    alignas(64) Values out[N];
    const Tiles shapes(in_tiles(w, count));
    const int most = block_rows(w, count);
    for (int row = 0; row < count; row += most) {
        const int rows = count - row < most ? count - row : most;
        for (int n = 0; n < N; ++n) block_product(w, panel + n, x, row, rows, count, out[n]);
        finish(row, rows, out);
    }
}

// body(panel) for all panels, some at a time, `step` of them never parted.
template <class Body>
static void each_panel(Pool& pool, int panels, int step, const Body& body) {
    const int groups = panels / step;
    int size = groups / (4 * pool.threads());
    size = size < 1 ? 1 : size > 16 ? 16 : size;
    pool.run((groups + size - 1) / size, [&](int piece) {
        const int last = (piece + 1) * size < groups ? (piece + 1) * size : groups;
        for (int group = piece * size; group < last; ++group) body(group * step);
    });
}

}  // namespace genwerk
