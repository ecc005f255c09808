// Attention of some query rows over one sequence's cache blocks, with an online softmax.
//
// Source: Milakov and Gimelshein (2018), Online normalizer calculation for softmax; Kwon et al. (2023), PagedAttention.
//
//     per block of 32 keys:  s = q K,  m' = max(m, s),  c = e^(m - m'),  p = e^(s - m')
//                            l <- c l + sum p,  o <- c o + p V,  m <- m';    in the end  o / l
//
// Blocks lie at fixed positions and are taken in order, so a row's result does not depend on how its prompt was cut.
//
// Sinks (Xiao et al., 2023, Efficient streaming language models with attention sinks): the first keys of a text stay
// visible beside a window, and their scores come first, from queries that stand right behind the window.
#pragma once

#include <algorithm>

#include "matmul.h"

namespace genwerk {

constexpr int MOST_QUERIES = 16, MOST_ROWS = 6, MOST_HEAD = 256;  // of a call, and of those at once in registers

struct Queries {
    const float* q[MOST_QUERIES];  // [head], scaled
    const float* near[MOST_QUERIES];  // the same turned for the sinks; used where there are any
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

// What each row ends with: o / l.
static inline void divide(float* out, const float* o, F total, int size) {
    const float inverse = 1.0f / sum(total);
    for (int d = 0; d < size; d += LANES) store(out + d, load(o + d) * inverse);
}

// How many numbers of the cache's one head takes of a block.
template <class Kept>
constexpr int64_t numbers_of(int head) {
    return int64_t(PANEL) * head;
}

// One head of a layer's cache: its part of the layer's first block, and how many numbers lie between two blocks.
template <class Kept>
struct Head {
    const int32_t* table;
    const Kept *keys, *values;
    int64_t stride;
    int size, window, sinks;

    // The first block that a row at this position sees, apart from the sinks.
    int first_block(int position) const { return window && position >= window ? (position - window + 1) / PANEL : 0; }
};

// Strips are cut at fixed places, so a row's sums do not depend on the rows beside it.
constexpr int STRIP = 8, STRIP_KEYS = STRIP * PANEL;  // blocks, and keys, whose scores share a largest one
constexpr float LOG2_E = 1.44269504088896341f;

// The sinks, where there are any, then every strip that a row sees: `begin` reads the queries, strip(from, to, oldest,
// newest) attends to blocks from..to, of which row r sees keys oldest(r) to newest(r).
template <class Kept, class Begin, class Strip>
static inline void each_strip(const Queries& rows, int count, const Head<Kept>& head, const Begin& begin, const Strip& strip) {
    const int *position = rows.position, last = position[count - 1] / PANEL, sinks = head.sinks;
    if (sinks) {
        begin(rows.near);
        strip(0, 0, [](int) { return 0; }, [&](int r) { return std::min(position[r], sinks - 1); });
    }
    begin(rows.q);
    const auto oldest = [&](int r) { return std::max(sinks, head.window ? position[r] - head.window + 1 : 0); };
    for (int from = head.first_block(position[0]), to; from <= last; from = to + 1) {
        to = std::min(last, from / STRIP * STRIP + STRIP - 1);
        strip(from, to, oldest, [&](int r) { return position[r]; });
    }
}

// Scores of the sixteen keys from `key` on, -infinity where they lie before the oldest or after the newest.
static inline F only_seen(F scores, int key, int oldest, int newest) {
    I at;
    for (int i = 0; i < LANES; ++i) at[i] = key + i;
    return ((at <= all(int32_t(newest))) & (at >= all(int32_t(oldest)))) ? scores : all(-INFINITY);
}

template <int R, class Kept>
static void attend_rows(const Queries& rows, int from, const Head<Kept>& cached) {
    const int *position = rows.position + from, head = cached.size, window = cached.window, sinks = cached.sinks;

    alignas(64) float o[R][MOST_HEAD], p[R][PANEL];
    float top[R], shrink[R];
    F total[R];
    for (int r = 0; r < R; ++r) {
        top[r] = -1e30f, total[r] = F{};
        std::memset(o[r], 0, sizeof(float) * size_t(head));
    }
    const int first = cached.first_block(position[0]), last = position[R - 1] / PANEL;
    for (int next = sinks ? -1 : first; next <= last; next = next < 0 ? first : next + 1) {
        const bool to_sinks = next < 0;
        const int block = to_sinks ? 0 : next;
        const float* const* q = (to_sinks ? rows.near : rows.q) + from;
        const Kept* k = cached.keys + cached.table[block] * cached.stride;
        F s[R][2] = {};
        for (int d = 0; d < head; ++d, k += PANEL) {
            const F left = fetch(k), right = fetch(k + LANES);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const F each = all(q[r][d]);
                s[r][0] += each * left;
                s[r][1] += each * right;
            }
        }
        for (int r = 0; r < R; ++r) {
            const int own = position[r] - block * PANEL, newest = to_sinks && own >= sinks ? sinks - 1 : own;
            const int behind = window ? own - window + 1 : 0, rest = sinks - block * PANEL;
            const int oldest = to_sinks ? 0 : behind > rest ? behind : rest;
            if (newest < PANEL - 1 || oldest > 0) {
                for (int half = 0; half < 2; ++half) s[r][half] = only_seen(s[r][half], LANES * half, oldest, newest);
            }
            const float best = largest(larger(larger(s[r][0], s[r][1]), all(top[r])));
            shrink[r] = best == top[r] ? 1.0f : exponential(all(top[r] - best))[0];
            top[r] = best;
            const F left = exponential(s[r][0] - best), right = exponential(s[r][1] - best);
            store(p[r], left), store(p[r] + LANES, right);
            total[r] = total[r] * shrink[r] + left + right;
        }
        const int valid = position[R - 1] - block * PANEL + 1;
        const int count = valid < PANEL ? valid : PANEL;  // what lies behind was never written
        const Kept* v = cached.values + cached.table[block] * cached.stride;
        int d = 0;
        for (; d + 2 * LANES <= head; d += 2 * LANES) add_values<R, 2>(o, p, shrink, v + d, head, count, d);
        for (; d < head; d += LANES) add_values<R, 1>(o, p, shrink, v + d, head, count, d);
    }
    for (int r = 0; r < R; ++r) divide(rows.out[from + r], o[r], total[r], head);
}

template <class Kept>
using Attend = void (*)(const Queries&, int, const Head<Kept>&);
template <class Kept>
constexpr Attend<Kept> ATTEND[] = {attend_rows<1, Kept>, attend_rows<2, Kept>, attend_rows<3, Kept>,
                                   attend_rows<4, Kept>, attend_rows<5, Kept>, attend_rows<6, Kept>};

template <class Kept>
static void attend(const Queries& rows, int count, const Head<Kept>& cached) {
    for (int from = 0; from < count; from += MOST_ROWS) {
        const int some = count - from < MOST_ROWS ? count - from : MOST_ROWS;
        ATTEND<Kept>[some - 1](rows, from, cached);
    }
}

// Write the key and the value of a position into its block; the last argument counts in attention_tiles.h only.
template <class Kept>
static inline void keep_key(Kept* block, int slot, const float* key, int head) {
    for (int d = 0; d < head; d += LANES) {
        Kept some[LANES];
        keep(some, load(key + d));
        for (int i = 0; i < LANES; ++i) block[(d + i) * PANEL + slot] = some[i];
    }
}

template <class Kept>
static inline void keep_value(Kept* block, int slot, const float* value, int head, bool) {
    for (int d = 0; d < head; d += LANES) keep(block + slot * head + d, load(value + d));
}

}  // namespace genwerk
