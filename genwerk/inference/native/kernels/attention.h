// Attention of some query rows over one sequence's cache blocks, with an online softmax.
//
// Source: Milakov and Gimelshein (2018), Online normalizer calculation for softmax; Kwon et al. (2023), PagedAttention.
//
//     per block of 32 keys:  s = q K,  m' = max(m, s),  c = e^(m - m'),  p = e^(s - m')
//                            l <- c l + sum p,  o <- c o + p V,  m <- m';    in the end  o / l
//
// Blocks lie at fixed positions and are taken in order, so a row's result does not depend on how its prompt was cut.
#pragma once

#include "matmul.h"

namespace genwerk {

constexpr int MOST_QUERIES = 6, MOST_HEAD = 256;

struct Queries {
    const float* q[MOST_QUERIES];  // [head], scaled
    float* out[MOST_QUERIES];      // [head]
    int position[MOST_QUERIES];    // positions of one sequence, not falling
};

// o <- c o + p V for N vectors of the head's size from d on.
template <int R, int N, class Kept>
static inline void add_values(float (*o)[MOST_HEAD], const float (*p)[PANEL], const float* shrink, const Kept* v,
                              int head, int count, int d) {
    F acc[R][N];
    for (int r = 0; r < R; ++r)
        for (int n = 0; n < N; ++n) acc[r][n] = load(o[r] + d + n * LANES) * shrink[r];
    for (int i = 0; i < count; ++i, v += head) {
        F value[N];
        for (int n = 0; n < N; ++n) value[n] = fetch(v + n * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const F weight = all(p[r][i]);
            for (int n = 0; n < N; ++n) acc[r][n] += weight * value[n];
        }
    }
    for (int r = 0; r < R; ++r)
        for (int n = 0; n < N; ++n) store(o[r] + d + n * LANES, acc[r][n]);
}

// `keys` and `values` are one head's part of a layer's first block, `stride` numbers from block to block.
template <int R, class Kept>
static void attend(const Queries& rows, const int32_t* table, const Kept* keys, const Kept* values, int64_t stride,
                   int head, int window) {
    alignas(64) float o[R][MOST_HEAD], p[R][PANEL];
    float top[R], shrink[R];
    F total[R];
    for (int r = 0; r < R; ++r) {
        top[r] = -1e30f, total[r] = F{};
        std::memset(o[r], 0, sizeof(float) * size_t(head));
    }
    const int first = window && rows.position[0] >= window ? (rows.position[0] - window + 1) / PANEL : 0;
    const int last = rows.position[R - 1] / PANEL;
    I lane;
    for (int i = 0; i < LANES; ++i) lane[i] = i;
    for (int block = first; block <= last; ++block) {
        const Kept* k = keys + table[block] * stride;
        F s[R][2] = {};
        for (int d = 0; d < head; ++d, k += PANEL) {
            const F left = fetch(k), right = fetch(k + LANES);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const F q = all(rows.q[r][d]);
                s[r][0] += q * left;
                s[r][1] += q * right;
            }
        }
        for (int r = 0; r < R; ++r) {
            const int newest = rows.position[r] - block * PANEL;
            if (newest < PANEL - 1 || (window && newest - window + 1 > 0)) {
                const I low = all(int32_t(window ? newest - window + 1 : -1)), high = all(int32_t(newest));
                for (int half = 0; half < 2; ++half) {
                    const I at = lane + LANES * half;
                    s[r][half] = ((at <= high) & (at >= low)) ? s[r][half] : all(-INFINITY);
                }
            }
            const float best = largest(larger(larger(s[r][0], s[r][1]), all(top[r])));
            shrink[r] = best == top[r] ? 1.0f : exponential(all(top[r] - best))[0];
            top[r] = best;
            const F left = exponential(s[r][0] - best), right = exponential(s[r][1] - best);
            store(p[r], left), store(p[r] + LANES, right);
            total[r] = total[r] * shrink[r] + left + right;
        }
        const int valid = rows.position[R - 1] - block * PANEL + 1;
        const int count = valid < PANEL ? valid : PANEL;  // what lies behind was never written
        const Kept* v = values + table[block] * stride;
        int d = 0;
        for (; d + 2 * LANES <= head; d += 2 * LANES) add_values<R, 2>(o, p, shrink, v + d, head, count, d);
        for (; d < head; d += LANES) add_values<R, 1>(o, p, shrink, v + d, head, count, d);
    }
    for (int r = 0; r < R; ++r) {
        const float inverse = 1.0f / sum(total[r]);
        for (int d = 0; d < head; d += LANES) store(rows.out[r] + d, load(o[r] + d) * inverse);
    }
}

template <class Kept>
using Attend = void (*)(const Queries&, const int32_t*, const Kept*, const Kept*, int64_t, int, int);
template <class Kept>
constexpr Attend<Kept> ATTEND[] = {attend<1, Kept>, attend<2, Kept>, attend<3, Kept>,
                                   attend<4, Kept>, attend<5, Kept>, attend<6, Kept>};

}  // namespace genwerk
