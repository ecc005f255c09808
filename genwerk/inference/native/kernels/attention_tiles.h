// Attention as in attention.h, for sixteen query rows at once in tile registers, over a cache in bfloat16.
//
// The cache holds pairs, as the tiles read them: keys [head / 2][32][2], values [16][head][2]. Queries and weights are
// rounded to bfloat16 too, sums are float. A tile's element is summed in an order of its own, so that a row's result
// depends neither on the rows beside it nor on how its prompt was cut.
#pragma once

#include <algorithm>

#include "attention.h"
#include "tiles.h"

namespace genwerk {

struct Bfloat16 {
    uint16_t bits;
};

#if defined(__AMX_BF16__)

constexpr int TILE_ROWS = 16;  // query rows of a tile

static inline void store_bfloat16(Bfloat16* to, F value) {
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)value);
    std::memcpy(to, &rounded, sizeof rounded);
}

static inline void keep_key(Bfloat16* block, int slot, const float* key, int head) {
    for (int d = 0; d < head; d += LANES) {
        Bfloat16 some[LANES];
        store_bfloat16(some, load(key + d));
        for (int i = 0; i < LANES; i += 2) std::memcpy(block + (d + i) * PANEL + 2 * slot, some + i, 2 * sizeof *some);
    }
}

// `fresh`: what lies behind the slot is another sequence's, and must be finite.
static inline void keep_value(Bfloat16* block, int slot, const float* value, int head, bool fresh) {
    if (fresh) {
        const int begin = slot / 2 * 2;
        for (int d = 0; slot % 2 == 0 && d < head; ++d) block[slot * head + 2 * d + 1] = {0};
        std::memset(static_cast<void*>(block + (begin + 2) * head), 0, sizeof(Bfloat16) * size_t(PANEL - begin - 2) * size_t(head));
    }
    for (int d = 0; d < head; d += LANES) {
        Bfloat16 some[LANES];
        store_bfloat16(some, load(value + d));
        for (int i = 0; i < LANES; ++i) block[slot / 2 * 2 * head + 2 * (d + i) + slot % 2] = some[i];
    }
}

// 2^x for x <= 0: x = n + r with |r| <= 1/2, a polynomial in r. Relative error near 1e-4, a twentieth of bfloat16's, and
// none at 0; of NaN it is NaN.
static inline F power_of_two(F x) {
    const F bounded = larger(all(-160.0f), x);
    const __m512 n = _mm512_roundscale_ps((__m512)bounded, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const F r = bounded - (F)n;
    const F p = power_of_fraction(r);
    return (F)_mm512_scalef_ps((__m512)p, n);
}

// Numbers below 2^-126 count as 0 while it lives: they are slow, and no weight of attention is missed.
class NoDenormals {
public:
    NoDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~NoDenormals() { _mm_setcsr(before_); }
    NoDenormals(const NoDenormals&) = delete;

private:
    const unsigned before_;
};

struct TileScratch {
    Bfloat16 q[TILE_ROWS * MOST_HEAD], p[TILE_ROWS * STRIP_KEYS];
    float s[TILE_ROWS * STRIP_KEYS], o[TILE_ROWS * MOST_HEAD], sums[TILE_ROWS * 64];
    float top[TILE_ROWS], shrink[TILE_ROWS];
    F total[TILE_ROWS];
};

// Scores of blocks from..to for all rows.
static inline void score_tiles(TileScratch& t, const Head<Bfloat16>& head, int from, int to) {
    for (int block = from; block <= to; ++block) {
        const Bfloat16* k = head.keys + head.table[block] * head.stride;
        zero_tile<0>();
        zero_tile<1>();
        for (int d = 0; d < head.size; d += PANEL) {
            load_tile<4>(t.q + d, 2 * head.size);
            load_tile<6>(k + d * PANEL, 4 * PANEL);
            load_tile<7>(k + d * PANEL + PANEL, 4 * PANEL);
            add_products<0, 4, 6>();
            add_products<1, 4, 7>();
        }
        store_tile<0>(t.s + block % STRIP * PANEL, 4 * STRIP_KEYS);
        store_tile<1>(t.s + block % STRIP * PANEL + LANES, 4 * STRIP_KEYS);
    }
}

// Hides what lies before the oldest and after the newest key that one row sees, and finds its largest score.
static inline void bound_row(TileScratch& t, int r, int oldest, int newest, int from, int to) {
    const int base = from / STRIP * STRIP_KEYS;
    float* s = t.s + r * STRIP_KEYS;
    F best = all(t.top[r]);
    for (int key = from * PANEL; key < (to + 1) * PANEL; key += LANES) {
        F value = load(s + key - base);
        if (key + LANES - 1 > newest || key < oldest) {
            value = only_seen(value, key, oldest, newest);
            store(s + key - base, value);
        }
        best = larger(best, value);
    }
    const float top = largest(best);
    t.shrink[r] = power_of_two(all((t.top[r] - top) * LOG2_E))[0];
    t.top[r] = top;
}

// Scores of one row to weights; 0 where it may not look.
static inline void weigh_row(TileScratch& t, int r, int from, int to) {
    const float *s = t.s + r * STRIP_KEYS + from % STRIP * PANEL, top = t.top[r] * LOG2_E;
    Bfloat16* p = t.p + r * STRIP_KEYS + from % STRIP * PANEL;
    F total[2] = {t.total[r] * t.shrink[r], F{}};
    for (int i = 0; i < (to + 1 - from) * PANEL; i += PANEL) {
        const F left = power_of_two(load(s + i) * LOG2_E - top), right = power_of_two(load(s + i + LANES) * LOG2_E - top);
        total[0] += left, total[1] += right;
        const __m512bh both = _mm512_cvtne2ps_pbh((__m512)right, (__m512)left);
        std::memcpy(p + i, &both, sizeof both);
    }
    t.total[r] = total[0] + total[1];
}

// o <- c o + p V over blocks from..to, for N times 16 of the head's numbers from d on.
template <int N>
static inline void add_value_tiles(TileScratch& t, const Head<Bfloat16>& head, int count, int from, int to, int d) {
    zero_tile<0>();
    if constexpr (N > 1) zero_tile<1>();
    if constexpr (N > 2) zero_tile<2>(), zero_tile<3>();
    for (int block = from; block <= to; ++block) {
        const Bfloat16* v = head.values + head.table[block] * head.stride + 2 * d;
        load_tile<4>(t.p + block % STRIP * PANEL, 2 * STRIP_KEYS);
        load_tile<6>(v, 4 * head.size);
        add_products<0, 4, 6>();
        if constexpr (N > 1) load_tile<7>(v + 2 * LANES, 4 * head.size), add_products<1, 4, 7>();
        if constexpr (N > 2) {
            load_tile<5>(v + 4 * LANES, 4 * head.size), add_products<2, 4, 5>();
            load_tile<6>(v + 6 * LANES, 4 * head.size), add_products<3, 4, 6>();
        }
    }
    store_tile<0>(t.sums, 4 * 64);
    if constexpr (N > 1) store_tile<1>(t.sums + LANES, 4 * 64);
    if constexpr (N > 2) store_tile<2>(t.sums + 2 * LANES, 4 * 64), store_tile<3>(t.sums + 3 * LANES, 4 * 64);
    for (int r = 0; r < count; ++r) {
        float* o = t.o + r * head.size + d;
        for (int i = 0; i < N * LANES; i += LANES) store(o + i, load(o + i) * t.shrink[r] + load(t.sums + 64 * r + i));
    }
}

static inline void round_queries(TileScratch& t, const float* const* q, int count, int size) {
    for (int r = 0; r < count; ++r)
        for (int d = 0; d < size; d += LANES) store_bfloat16(t.q + r * size + d, load(q[r] + d));
}

// One strip, from..to, for all rows; row r sees keys oldest(r) to newest(r).
template <class Oldest, class Newest>
static inline void attend_strip(TileScratch& t, const Head<Bfloat16>& head, int count, int from, int to,
                                const Oldest& oldest, const Newest& newest) {
    score_tiles(t, head, from, to);
    for (int r = 0; r < count; ++r) bound_row(t, r, oldest(r), newest(r), from, to);
    for (int r = 0; r < count; ++r) weigh_row(t, r, from, to);
    int d = 0;
    for (; d + 4 * LANES <= head.size; d += 4 * LANES) add_value_tiles<4>(t, head, count, from, to, d);
    for (; d < head.size; d += 2 * LANES) add_value_tiles<2>(t, head, count, from, to, d);
}

// Up to 16 rows; the head's size is a multiple of 32.
static void attend(const Queries& rows, int count, const Head<Bfloat16>& head) {
    const Tiles shapes;
    const NoDenormals fast;
    alignas(64) TileScratch t;
    std::memset(static_cast<void*>(t.q), 0, sizeof(Bfloat16) * TILE_ROWS * size_t(head.size));
    std::memset(static_cast<void*>(t.p), 0, sizeof t.p);
    std::memset(t.o, 0, sizeof(float) * size_t(count) * size_t(head.size));
    for (int r = 0; r < count; ++r) t.top[r] = -1e30f, t.total[r] = F{};
    each_strip(
        rows, count, head, [&](const float* const* q) { round_queries(t, q, count, head.size); },
        [&](int from, int to, const auto& oldest, const auto& newest) { attend_strip(t, head, count, from, to, oldest, newest); });
    for (int r = 0; r < count; ++r) divide(rows.out[r], t.o + r * head.size, t.total[r], head.size);
}

#endif

}  // namespace genwerk
