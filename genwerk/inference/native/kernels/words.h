// y = x W^T in whole numbers of up to 16 bits, for the encoder: as many bits as sums over the inputs leave room for.
//
// Both sides are turned as for INT8 (matmul.h) and reach from -most to most, most = floor(sqrt((2^31 - 1) / inputs)): 1182
// for 1536 inputs. So no sum of products leaves 32 bits, it is exact, and a row's result is the same in any company.
#pragma once

#include "matmul.h"

extern "C" {

// data: int16 [outputs / 32][depth / 2][32][2], depth: inputs filled up to a multiple of 64; scale, bias: float [outputs]
struct WordMatrix {
    int32_t outputs, inputs;
    const int16_t* data;
    const float *scale, *bias;
};

}  // extern "C"

namespace genwerk {

typedef int16_t Words __attribute__((vector_size(64)));

// acc[lane] += weights[2 lane] * two[0] + weights[2 lane + 1] * two[1]
static inline I dot_words(I acc, Words weights, const int16_t* two) {
#if defined(__AVX512VNNI__)
    int32_t pair;
    std::memcpy(&pair, two, sizeof pair);
    return (I)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)weights, _mm512_set1_epi32(pair));
#elif defined(__AVX2__)
    int32_t pair;
    std::memcpy(&pair, two, sizeof pair);
    __m256i part[2];
    std::memcpy(part, &weights, sizeof part);
    for (__m256i& half : part) half = _mm256_madd_epi16(half, _mm256_set1_epi32(pair));
    I products;
    std::memcpy(&products, part, sizeof products);
    return acc + products;
#else
    for (int lane = 0; lane < LANES; ++lane)
        acc[lane] += int(weights[2 * lane]) * two[0] + int(weights[2 * lane + 1]) * two[1];
    return acc;
#endif
}

// One row: every 64 inputs turned, then q = nearest(most x / max |x|). Returns its scale.
static inline float quantise_words(const float* x, int inputs, int16_t* whole, float* turned) {
    typedef int16_t Sixteen __attribute__((vector_size(32)));
    const int filled = depth(inputs);
    const float most = float(std::floor(std::sqrt(2147483647.0 / filled))), top = turn_row(x, inputs, turned);
    const float inverse = top > 0 ? most / top : 0.0f;
    for (int i = 0; i < filled; i += LANES) {
        const F value = nearest(load(turned + i) * inverse);
        const Sixteen words = __builtin_convertvector(__builtin_convertvector(value, I), Sixteen);
        std::memcpy(whole + i, &words, sizeof words);
    }
    return top / most * 0.125f;  // the matrix is orthogonal when divided by 8
}

// M rows times one panel; `out` is [M][32].
template <int M>
static void tile_words(const WordMatrix& w, int panel, const int16_t* a, const float* scale, float* out) {
    const int filled = depth(w.inputs);
    const int16_t* weights = w.data + int64_t(panel) * filled * PANEL;
    I acc[M][2] = {};
    for (int k = 0; k < filled; k += 2, weights += 2 * PANEL, a += 2) {
        Words left, right;
        std::memcpy(&left, weights, sizeof left), std::memcpy(&right, weights + PANEL, sizeof right);
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            acc[m][0] = dot_words(acc[m][0], left, a + int64_t(m) * filled);
            acc[m][1] = dot_words(acc[m][1], right, a + int64_t(m) * filled);
        }
    }
    for (int half = 0; half < 2; ++half) {
        const int output = panel * PANEL + half * LANES;
        const F step = load(w.scale + output), bias = load(w.bias + output);
        for (int m = 0; m < M; ++m) store(out + m * PANEL + half * LANES, to_float(acc[m][half]) * scale[m] * step + bias);
    }
}

typedef void (*WordTile)(const WordMatrix&, int, const int16_t*, const float*, float*);
constexpr WordTile TILES_WORDS[] = {GENWERK_TILES(tile_words), GENWERK_MORE_TILES(tile_words)};

}  // namespace genwerk
