// Attention as in attention.h over a cache in bytes, in whole numbers from end to end.
//
//     per strip of 256 keys:  s = (q' k') scale_q scale_k,  m' = max(m, s),  c = 2^(m - m'),  p = 2^(s - m')
//                             l <- c l + sum p,  o <- c o + (w' v') step,  m <- m';    in the end  o / l
//
// q', k' and v' are whole numbers from -127 to 127 with one scale per position and head (that of q' holds log2 e). Keys
// and queries are turned by the Hadamard matrix, as activations are in int8, which leaves their products as they are and
// spreads outliers. w' = p scale_v / step is a whole number to 16,383, taken as 128 high + low: two rows of bytes. Sums
// of whole numbers are exact, so tiles and vectors give the same bits.
//
// Of each block and head:  keys [head / 4][32][4] with 128 added, values [8][head][4], each followed by its 32 scales.
#pragma once

#include <algorithm>

#include "attention.h"
#include "tiles.h"

namespace genwerk {

constexpr float FINE = 16383.0f;  // the largest weight of attention
constexpr int FEW_ROWS = 8;       // up to which tile registers do not pay

// Bytes, and behind them their scales.
template <>
constexpr int64_t numbers_of<uint8_t>(int head) {
    return int64_t(PANEL) * (head + int64_t(sizeof(float)));
}

static inline F scales_of(const uint8_t* block, int head, int slot) {
    F value;
    std::memcpy(&value, block + PANEL * head + slot * sizeof(float), sizeof value);
    return value;
}

template <int N>
static inline void turn_part(const float* from, float* to, float size) {
    F part[N];
    for (int n = 0; n < N; ++n) part[n] = load(from + n * LANES);
    hadamard(part);
    for (int n = 0; n < N; ++n) store(to + n * LANES, part[n] * size);
}

// Each 64 numbers of a head are turned together, of what is left 32 and 16; returns the largest magnitude.
static inline float turn_head(const float* from, float* to, int head) {
    int d = 0;
    for (; d + 4 * LANES <= head; d += 4 * LANES) turn_part<4>(from + d, to + d, 0.125f);
    for (; d + 2 * LANES <= head; d += 2 * LANES) turn_part<2>(from + d, to + d, 0.17677669529663689f);
    for (; d < head; d += LANES) turn_part<1>(from + d, to + d, 0.25f);
    I most = I{};
    for (d = 0; d < head; d += LANES) most = larger(most, magnitude(load(to + d)));
    return top_of(most);
}

// Numbers to bytes, and their scale to its slot.
static inline void keep_bytes(uint8_t* block, int slot, const float* from, float top, int head, int8_t* bytes) {
    const float inverse = top > 0 ? 127.0f / top : 0.0f, scale = top / 127.0f;
    for (int d = 0; d < head; d += LANES) store_whole(bytes + d, load(from + d) * inverse);
    std::memcpy(block + PANEL * head + slot * sizeof scale, &scale, sizeof scale);
}

static inline void keep_key(uint8_t* block, int slot, const float* key, int head) {
    alignas(64) float turned[MOST_HEAD];
    int8_t bytes[MOST_HEAD];
    const float top = turn_head(key, turned, head);
    keep_bytes(block, slot, turned, top, head, bytes);
    for (int d = 0; d < head; d += 4)
        for (int i = 0; i < 4; ++i) block[d * PANEL + 4 * slot + i] = uint8_t(bytes[d + i] + 128);
}

static inline void keep_value(uint8_t* block, int slot, const float* value, int head, bool) {
    int8_t bytes[MOST_HEAD];
    I most = I{};
    for (int d = 0; d < head; d += LANES) most = larger(most, magnitude(load(value + d)));
    keep_bytes(block, slot, value, top_of(most), head, bytes);
    uint8_t* to = block + slot / 4 * 4 * head + slot % 4;
    for (int d = 0; d < head; ++d) to[4 * d] = uint8_t(bytes[d]);
}

// Lanes of `top`, `shrink` and `step` are rows.
struct ByteScratch {
    int8_t q[MOST_QUERIES * MOST_HEAD], p[2 * MOST_QUERIES * STRIP_KEYS];  // of weights two rows for each query
    float s[MOST_QUERIES * STRIP_KEYS], o[MOST_QUERIES * MOST_HEAD];       // `s` holds whole numbers at first
    int32_t sums[2 * MOST_QUERIES * MOST_HEAD], shift[MOST_QUERIES];      // -128 times the sum of a query's numbers
    float scale[MOST_QUERIES];
    F total[MOST_QUERIES], top, shrink, step;
};

// 2^x for x <= 0: x = n + r with |r| <= 1/2, a polynomial in r, n added to the exponent. Relative error near 1e-4, none
// at 0; below 2^-100 it is 0, and of NaN it is NaN (whose lowest nine bits are 0: it comes from `top_of`).
static inline F power(F x) {
    const F bounded = larger(all(-100.0f), x), shift = all(12582912.0f), high = bounded + shift;  // 1.5 * 2^23
    const F r = bounded - (high - shift);
    F p = power_of_fraction(r);
    I whole, bits;
    std::memcpy(&whole, &high, sizeof whole), std::memcpy(&bits, &p, sizeof bits);
    bits += whole << 23;
    std::memcpy(&p, &bits, sizeof p);
    return x < all(-100.0f) ? F{} : p;
}

// Sixteen numbers to 16,383, rounded, as 128 high + low.
static inline void store_fine(int8_t* high, int8_t* low, F value) {
    typedef int8_t Sixteen __attribute__((vector_size(16)));
    const I whole = __builtin_convertvector(nearest(value), I);
    const Sixteen parts[2] = {__builtin_convertvector(whole >> 7, Sixteen), __builtin_convertvector(whole & 127, Sixteen)};
    std::memcpy(high, parts, LANES), std::memcpy(low, parts + 1, LANES);
}

static inline void round_queries(ByteScratch& t, const float* const* q, int count, int head) {
    for (int r = 0; r < count; ++r) {
        alignas(64) float turned[MOST_HEAD];
        const float top = turn_head(q[r], turned, head), inverse = top > 0 ? 127.0f / top : 0.0f;
        I total = I{};
        for (int d = 0; d < head; d += LANES) total += store_whole(t.q + r * head + d, load(turned + d) * inverse);
        t.scale[r] = top / 127.0f * LOG2_E, t.shift[r] = -128 * sum(total);
    }
}

// acc[n] += rows of bytes times columns of bytes, four by four; 16 C columns. `weights`: see `dot_weights`.
template <bool weights, int N, int C>
static inline void add_bytes(I (&acc)[N][C], const int8_t* rows, int width, const uint8_t* columns, int stride, int count) {
    for (int k = 0; k < count; k += 4, columns += stride) {
        Bytes column[C];
        for (int c = 0; c < C; ++c) column[c] = load_bytes(columns + 64 * c);
#pragma GCC unroll 16
        for (int n = 0; n < N; ++n)
            for (int c = 0; c < C; ++c) {
                const int8_t* four = rows + n * width + k;
                acc[n][c] = weights ? dot_weights(acc[n][c], column[c], four) : dot(acc[n][c], column[c], four);
            }
    }
}

template <int N, int C>
static inline void store_sums(void* to, int width, const I (&acc)[N][C]) {
    for (int n = 0; n < N; ++n) std::memcpy(static_cast<int32_t*>(to) + n * width, acc[n], sizeof acc[n]);
}

template <int N>
static void score_bytes(ByteScratch& t, const Head<uint8_t>& head, int row, int from, int to) {
    for (int block = from; block <= to; ++block) {
        I acc[N][2] = {};
        const uint8_t* k = head.keys + head.table[block] * head.stride;
        add_bytes<false>(acc, t.q + row * head.size, head.size, k, 4 * PANEL, head.size);
        store_sums(t.s + row * STRIP_KEYS + block % STRIP * PANEL, STRIP_KEYS, acc);
    }
}

template <int N, int C>
static void mix_columns(ByteScratch& t, const Head<uint8_t>& head, int row, int from, int to, int d) {
    I acc[N][C] = {};
    for (int block = from; block <= to; ++block) {
        const int8_t* p = t.p + row * STRIP_KEYS + block % STRIP * PANEL;
        add_bytes<true>(acc, p, STRIP_KEYS, head.values + head.table[block] * head.stride + 4 * d, 4 * head.size, PANEL);
    }
    store_sums(t.sums + row * MOST_HEAD + d, MOST_HEAD, acc);
}

template <int N>
static void mix_bytes(ByteScratch& t, const Head<uint8_t>& head, int row, int from, int to) {
    int d = 0;
    for (; d + 2 * LANES <= head.size; d += 2 * LANES) mix_columns<N, 2>(t, head, row, from, to, d);
    for (; d < head.size; d += LANES) mix_columns<N, 1>(t, head, row, from, to, d);
}

typedef void (*ByteProducts)(ByteScratch&, const Head<uint8_t>&, int, int, int);
constexpr ByteProducts SCORE_BYTES[] = {GENWERK_TILES(score_bytes), GENWERK_MORE_TILES(score_bytes)};
constexpr ByteProducts MIX_BYTES[] = {GENWERK_TILES(mix_bytes), GENWERK_MORE_TILES(mix_bytes)};

static inline void each_few(const ByteProducts* products, ByteScratch& t, const Head<uint8_t>& head, int rows, int from, int to) {
    for (int row = 0, some; row < rows; row += some) {
        some = std::min(MOST_TOGETHER, rows - row);
        products[some - 1](t, head, row, from, to);
    }
}

#if defined(__AMX_INT8__)

// The head's size is a multiple of 64.
static inline void score_bytes_in_tiles(ByteScratch& t, const Head<uint8_t>& head, int from, int to) {
    const Tiles shapes;
    for (int block = from; block <= to; ++block) {
        const uint8_t* k = head.keys + head.table[block] * head.stride;
        zero_tile<0>(), zero_tile<1>();
        for (int d = 0; d < head.size; d += 64) {
            load_tile<4>(t.q + d, head.size);
            load_tile<6>(k + d * PANEL, 4 * PANEL);
            load_tile<7>(k + d * PANEL + 64, 4 * PANEL);
            add_byte_products<0, 4, 6>();
            add_byte_products<1, 4, 7>();
        }
        float* out = t.s + block % STRIP * PANEL;  // of whole numbers
        store_tile<0>(out, 4 * STRIP_KEYS), store_tile<1>(out + LANES, 4 * STRIP_KEYS);
    }
}

// More than 16 rows of weights, as there are where tiles are used.
static inline void mix_bytes_in_tiles(ByteScratch& t, const Head<uint8_t>& head, int from, int to) {
    const Tiles shapes(true, HALF_TILES);
    for (int d = 0; d < head.size; d += 2 * LANES) {
        zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>();
        for (int block = from; block <= to; ++block) {
            const uint8_t* v = head.values + head.table[block] * head.stride + 4 * d;
            const int8_t* p = t.p + block % STRIP * PANEL;
            load_tile<4>(p, STRIP_KEYS);
            load_tile<5>(p + LANES * STRIP_KEYS, STRIP_KEYS);
            load_tile<6>(v, 4 * head.size);
            load_tile<7>(v + 64, 4 * head.size);
            add_signed_products<0, 4, 6>();
            add_signed_products<1, 4, 7>();
            add_signed_products<2, 5, 6>();
            add_signed_products<3, 5, 7>();
        }
        int32_t* out = t.sums + d;
        store_tile<0>(out, 4 * MOST_HEAD), store_tile<1>(out + LANES, 4 * MOST_HEAD);
        out += LANES * MOST_HEAD;
        store_tile<2>(out, 4 * MOST_HEAD), store_tile<3>(out + LANES, 4 * MOST_HEAD);
    }
}

#endif

// Scores of one row's keys from..to; returns the largest of those from its oldest to its newest key and of those before.
static inline float score_row(ByteScratch& t, const Head<uint8_t>& head, int r, int from, int to, int oldest, int newest) {
    F best = all(t.top[r]);
    for (int block = from; block <= to; ++block)
        for (int slot = 0; slot < PANEL; slot += LANES) {
            float* s = t.s + r * STRIP_KEYS + block % STRIP * PANEL + slot;
            I whole;
            std::memcpy(&whole, s, sizeof whole);
            const F scale = scales_of(head.keys + head.table[block] * head.stride, head.size, slot);
            F value = value_of(whole + t.shift[r], t.scale[r], scale);
            const int key = block * PANEL + slot;
            if (key + LANES - 1 > newest || key < oldest) value = only_seen(value, key, oldest, newest);
            store(s, value);
            best = larger(best, value);
        }
    return largest(best);
}

// Scores of one row to weights times the scales of the values; returns the largest magnitude's bits.
static inline int32_t weigh_row(ByteScratch& t, const Head<uint8_t>& head, int r, int from, int to) {
    const float top = t.top[r];
    F total = t.total[r] * t.shrink[r];
    I most = I{};
    for (int block = from; block <= to; ++block)
        for (int slot = 0; slot < PANEL; slot += LANES) {
            float* s = t.s + r * STRIP_KEYS + block % STRIP * PANEL + slot;
            const F p = power(load(s) - top);
            const F scale = scales_of(head.values + head.table[block] * head.stride, head.size, slot);
            const F weight = p > F{} ? p * scale : F{};  // what was never written may be NaN, and is not seen
            total += p;
            most = larger(most, magnitude(weight));
            store(s, weight);
        }
    t.total[r] = total;
    return largest(most);
}

// The largest of each row's weights, by its bits, to the row's step.
static inline F steps_of(I bits) {
    F top;
    std::memcpy(&top, &bits, sizeof top);
    top = bits >= all(int32_t(0x7f800000)) ? all(NAN) : top;  // a broken model must not turn into text
    return top < all(1e-30f) ? F{} : top / FINE;
}

static inline void round_weights(ByteScratch& t, int r, int from, int to) {
    const float inverse = t.step[r] > 0 ? 1.0f / t.step[r] : 0.0f;
    int8_t* p = t.p + 2 * r * STRIP_KEYS;
    for (int key = from % STRIP * PANEL; key < (to % STRIP + 1) * PANEL; key += LANES)
        store_fine(p + key, p + STRIP_KEYS + key, load(t.s + r * STRIP_KEYS + key) * inverse);
}

// One strip, from..to, for all rows; row r sees keys oldest(r) to newest(r).
template <class Oldest, class Newest>
static inline void attend_strip(ByteScratch& t, const Head<uint8_t>& head, int count, int from, int to,
                                const Oldest& oldest, const Newest& newest) {
#if defined(__AMX_INT8__)
    if (head.size % 64 == 0 && count > FEW_ROWS)
        score_bytes_in_tiles(t, head, from, to);
    else
#endif
        each_few(SCORE_BYTES, t, head, count, from, to);
    F best = t.top;
    for (int r = 0; r < count; ++r) best[r] = score_row(t, head, r, from, to, oldest(r), newest(r));
    t.shrink = power(t.top - best), t.top = best;
    I most = I{};
    for (int r = 0; r < count; ++r) most[r] = weigh_row(t, head, r, from, to);
    t.step = steps_of(most);
    for (int r = 0; r < count; ++r) round_weights(t, r, from, to);
#if defined(__AMX_INT8__)
    if (head.size % 32 == 0 && count > FEW_ROWS)
        mix_bytes_in_tiles(t, head, from, to);
    else
#endif
        each_few(MIX_BYTES, t, head, 2 * count, from, to);
    for (int r = 0; r < count; ++r)
        for (int d = 0; d < head.size; d += LANES) {
            I sums[2];
            for (int i = 0; i < 2; ++i) std::memcpy(sums + i, t.sums + (2 * r + i) * MOST_HEAD + d, sizeof sums[i]);
            float* o = t.o + r * head.size + d;
            store(o, load(o) * t.shrink[r] + to_float((sums[0] << 7) + sums[1]) * t.step[r]);
        }
}

// Up to 16 rows.
static void attend(const Queries& rows, int count, const Head<uint8_t>& head) {
    alignas(64) ByteScratch t;
    std::memset(t.q, 0, size_t(MOST_QUERIES) * size_t(head.size));
    std::memset(t.p, 0, sizeof t.p);
    std::memset(t.o, 0, sizeof(float) * size_t(count) * size_t(head.size));
    t.top = all(-1e30f);
    for (int r = 0; r < count; ++r) t.total[r] = F{};
    each_strip(
        rows, count, head, [&](const float* const* q) { round_queries(t, q, count, head.size); },
        [&](int from, int to, const auto& oldest, const auto& newest) { attend_strip(t, head, count, from, to, oldest, newest); });
    for (int r = 0; r < count; ++r) divide(rows.out[r], t.o + r * head.size, t.total[r], head.size);
}

}  // namespace genwerk
