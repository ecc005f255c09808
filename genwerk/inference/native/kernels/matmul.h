// y = x W^T for packed W: each output element is summed over the inputs in their order, whatever else is computed beside
// it, so a row's result is the same alone or among many.
#pragma once

#include "model.h"
#include "pool.h"
#include "vector.h"

namespace genwerk {

constexpr int PANEL = 32;  // outputs that are computed together, inputs that share a scale, positions in a cache block

// Rows of activations for one product: as they are, or as integers in groups of 32 inputs.
struct Rows {
    const float* tiles;   // [rows / 12][inputs][12], the last tile as narrow as it must be
    const int8_t* whole;  // [rows][inputs]
    const float* scale;   // [rows][inputs / 32]
    const float* total;   // [rows][inputs / 32]: the sum of the group's numbers, scaled
    const float* shift;   // [rows]: -128 times the sum of the row's totals, as weights are kept with 128 added
};

// One row to integers: per group of 32, q = nearest(127 x / max |x|). NaN and infinity make the group's scale NaN.
// Returns the row's shift.
static inline float quantise(const float* x, int inputs, int8_t* whole, float* scale, float* total) {
    float all_groups = 0.0f;
    for (int group = 0; group < inputs / PANEL; ++group) {
        const F low = load(x + PANEL * group), high = load(x + PANEL * group + LANES);
        const int32_t bits = largest(larger(magnitude(low), magnitude(high)));
        float top;
        std::memcpy(&top, &bits, sizeof top);
        if (bits >= 0x7f800000) top = NAN;  // a broken model must not turn into text
        if (top < 1e-30f) top = 0.0f;       // 127 / top would be infinite
        const float inverse = top > 0 ? 127.0f / top : 0.0f;
        const I a = __builtin_convertvector(nearest(low * inverse), I);
        const I b = __builtin_convertvector(nearest(high * inverse), I);
        typedef int8_t Half __attribute__((vector_size(16)));
        const Half c = __builtin_convertvector(a, Half), d = __builtin_convertvector(b, Half);
        std::memcpy(whole + PANEL * group, &c, LANES);
        std::memcpy(whole + PANEL * group + LANES, &d, LANES);
        scale[group] = top / 127.0f;
        total[group] = scale[group] * float(sum(a + b));
        all_groups += total[group];
    }
    return -128.0f * all_groups;
}

// M rows times one panel; `out` is [M][32].
template <int M>
static void tile_float(const Matrix& w, int panel, const Rows& x, int row, float* out) {
    const float* weights = static_cast<const float*>(w.data) + int64_t(panel) * w.inputs * PANEL;
    const float* a = x.tiles + int64_t(row) * w.inputs;
    F acc[M][2] = {};
    for (int k = 0; k < w.inputs; ++k, weights += PANEL, a += M) {
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

template <int M>
static void tile_int8(const Matrix& w, int panel, const Rows& x, int row, float* out) {
    const uint8_t* weights = static_cast<const uint8_t*>(w.data) + int64_t(panel) * w.inputs * PANEL;
    const int groups = w.inputs / PANEL;
    const int8_t* a = x.whole + int64_t(row) * w.inputs;
    const float* scale = x.scale + int64_t(row) * groups;
    F acc[M][2] = {};
    for (int group = 0; group < groups; ++group, a += PANEL) {
        I part[M][2] = {};
#pragma GCC unroll 8
        for (int four = 0; four < PANEL; four += 4, weights += 4 * PANEL) {
            const Bytes left = load_bytes(weights), right = load_bytes(weights + 64);
#pragma GCC unroll 16
            for (int m = 0; m < M; ++m) {
                part[m][0] = dot(part[m][0], left, a + int64_t(m) * w.inputs + four);
                part[m][1] = dot(part[m][1], right, a + int64_t(m) * w.inputs + four);
            }
        }
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            const F s = all(scale[m * groups + group]);
            acc[m][0] += to_float(part[m][0]) * s;
            acc[m][1] += to_float(part[m][1]) * s;
        }
    }
    const F left = load(w.scale + int64_t(panel) * PANEL), right = load(w.scale + int64_t(panel) * PANEL + LANES);
    for (int m = 0; m < M; ++m) {
        store(out + PANEL * m, (acc[m][0] + x.shift[row + m]) * left);
        store(out + PANEL * m + LANES, (acc[m][1] + x.shift[row + m]) * right);
    }
}

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
constexpr int MOST_FLOAT = 12, MOST_INT8 = 6;  // rows of a tile; as many of INT4 as of INT8
constexpr Tile TILES_FLOAT[] = {tile_float<1>, tile_float<2>, tile_float<3>, tile_float<4>,  tile_float<5>,  tile_float<6>,
                                tile_float<7>, tile_float<8>, tile_float<9>, tile_float<10>, tile_float<11>, tile_float<12>};
constexpr Tile TILES_INT8[] = {tile_int8<1>, tile_int8<2>, tile_int8<3>, tile_int8<4>, tile_int8<5>, tile_int8<6>};
constexpr Tile TILES_INT4[] = {tile_int4<1>, tile_int4<2>, tile_int4<3>, tile_int4<4>, tile_int4<5>, tile_int4<6>};

// One panel for `count` rows of `x`, `finish(row, values)` for each with its 32 values.
template <class Finish>
static inline void panel_product(const Matrix& w, int panel, const Rows& x, int count, const Finish& finish) {
    const int most = w.format == FLOAT32 ? MOST_FLOAT : MOST_INT8;
    const Tile* tiles = w.format == FLOAT32 ? TILES_FLOAT : w.format == INT8 ? TILES_INT8 : TILES_INT4;
    alignas(64) float out[MOST_FLOAT * PANEL];
    for (int row = 0; row < count;) {
        const int rows = count - row < most ? count - row : most;
        tiles[rows - 1](w, panel, x, row, out);
        if (w.bias) {
            for (int m = 0; m < rows; ++m)
                for (int i = 0; i < PANEL; i += LANES)
                    store(out + PANEL * m + i, load(out + PANEL * m + i) + load(w.bias + int64_t(panel) * PANEL + i));
        }
        for (int m = 0; m < rows; ++m) finish(row + m, out + PANEL * m);
        row += rows;
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
