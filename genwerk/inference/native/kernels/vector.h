// Sixteen lanes at a time, written once for every instruction set: the compiler splits or keeps the 64-byte vectors.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace genwerk {

constexpr int LANES = 16;

typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef float UnalignedF __attribute__((vector_size(64), aligned(4), may_alias));

// Memory that begins at a cache line: what begins elsewhere makes two lines of every sixteen numbers.
constexpr size_t LINE = 64;

template <class T>
struct FromALine {
    typedef T value_type;
    FromALine() = default;
    template <class U>
    FromALine(const FromALine<U>&) {}
    T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(LINE))); }
    void deallocate(T* from, size_t) { ::operator delete(from, std::align_val_t(LINE)); }
    template <class U>
    bool operator==(const FromALine<U>&) const {
        return true;
    }
};

template <class T>
using Lines = std::vector<T, FromALine<T>>;

static inline F load(const float* from) { return *reinterpret_cast<const UnalignedF*>(from); }
static inline void store(float* to, F value) { *reinterpret_cast<UnalignedF*>(to) = value; }
static inline F all(float value) { return value - F{}; }
static inline I all(int32_t value) { return value - I{}; }
static inline F to_float(I value) { return __builtin_convertvector(value, F); }
// Of a number and NaN both return the second argument.
static inline F larger(F a, F b) { return a > b ? a : b; }
static inline F smaller(F a, F b) { return a < b ? a : b; }

// Lanes are folded in halves, always in this order, so a row's sum never depends on its neighbours.
#define GENWERK_FOLD(V, value, combine)                                                                        \
    value = combine(value, (V)__builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)); \
    value = combine(value, (V)__builtin_shufflevector(value, value, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)); \
    value = combine(value, (V)__builtin_shufflevector(value, value, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)); \
    value = combine(value, (V)__builtin_shufflevector(value, value, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));

template <class V>
static inline V plus(V a, V b) {
    return a + b;
}

static inline float sum(F value) {
    GENWERK_FOLD(F, value, plus)
    return value[0];
}

static inline int32_t sum(I value) {
    GENWERK_FOLD(I, value, plus)
    return value[0];
}

static inline float largest(F value) {
    GENWERK_FOLD(F, value, larger)
    return value[0];
}

static inline I larger(I a, I b) { return a > b ? a : b; }

static inline int32_t largest(I value) {
    GENWERK_FOLD(I, value, larger)
    return value[0];
}

// |value| as bits: they order as the numbers do, infinity above all of them and NaN above infinity.
static inline I magnitude(F value) {
    I bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

// To the nearest whole number, ties to even, for |value| < 2^22.
static inline F nearest(F value) {
    const F shift = all(12582912.0f);  // 1.5 * 2^23
    return (value + shift) - shift;
}

// e^x: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, then the exponent of 2^n. Relative error below 2e-7.
// Below -87 the result is exactly 0, and of NaN it is NaN.
static inline F exponential(F x) {
    const F tiny = all(-87.0f);
    F bounded = smaller(all(88.0f), larger(tiny, x));
    F n = nearest(bounded * 1.44269504088896341f);
    F r = bounded - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    F p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    I exponent = (__builtin_convertvector(n, I) + 127) << 23;
    F scale;
    std::memcpy(&scale, &exponent, sizeof scale);
    return x < tiny ? F{} : p * scale;
}

// 2^r for |r| <= 1/2, with a relative error near 1e-4 and none at 0.
static inline F power_of_fraction(F r) {
    F p = all(0.05500859f);
    p = p * r + 0.24221038f;
    p = p * r + 0.6932829f;
    return p * r + 1.0f;
}

// SwiGLU: silu(gate) up.
static inline F gated(F gate, F up) { return gate / (1.0f + exponential(-gate)) * up; }

// Sixty-four numbers, or 32 or 16, times the Hadamard matrix, whose entries are +1 and -1; twice that gives 64, 32 or 16
// times the numbers.
template <int N>
static inline void hadamard(F (&x)[N]) {
    if constexpr (N == 4) {
        const F a = x[0] + x[2], b = x[1] + x[3], c = x[0] - x[2], d = x[1] - x[3];
        x[0] = a + b, x[1] = a - b, x[2] = c + d, x[3] = c - d;
    }
    if constexpr (N == 2) {
        const F a = x[0], b = x[1];
        x[0] = a + b, x[1] = a - b;
    }
    const F eight = {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
    const F four = {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1};
    const F two = {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1};
    const F one = {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
    for (F& v : x) {
        v = v * eight + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
        v = v * four + __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
        v = v * two + __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        v = v * one + __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    }
}

typedef uint8_t Bytes __attribute__((vector_size(64)));

static inline Bytes load_bytes(const uint8_t* from) {
    Bytes value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

static inline Bytes low_halves(Bytes value) { return value & uint8_t(0x0f); }
static inline Bytes high_halves(Bytes value) { return value >> 4; }

// Sixteen float16.
static inline F load_half(const uint16_t* from) {
#if defined(__AVX512F__)
    return (F)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__AVX2__)
    __m256 part[2];
    for (int i = 0; i < 2; ++i)
        part[i] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 8 * i)));
    F value;
    std::memcpy(&value, part, sizeof value);
    return value;
#else
    F value;
    for (int lane = 0; lane < LANES; ++lane) {
        const uint32_t sign = uint32_t(from[lane] & 0x8000) << 16, rest = from[lane] & 0x7fff;
        uint32_t bits = sign | ((rest << 13) + 0x38000000);
        float number;
        std::memcpy(&number, &bits, sizeof number);
        if (rest < 0x400) number = (sign ? -1.0f : 1.0f) * float(rest) * 5.9604644775390625e-8f;  // subnormal: 2^-24
        if (rest >= 0x7c00) number = rest == 0x7c00 ? (sign ? -INFINITY : INFINITY) : NAN;
        value[lane] = number;
    }
    return value;
#endif
}

static inline uint16_t to_half(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = uint16_t(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return sign | 0x7e00;
    if (bits >= 0x477ff000) return sign | 0x7c00;  // from 65520 on: infinity
    if (bits < 0x38800000) {                       // below 2^-14: so many times 2^-24, rounded by the addition
        const float whole = std::fabs(value) + 0.5f;
        std::memcpy(&bits, &whole, sizeof bits);
        return uint16_t(sign | (bits - 0x3f000000));
    }
    return uint16_t(sign | ((bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13));
}

// Sixteen to float16, to the nearest, ties to even.
static inline void store_half(uint16_t* to, F value) {
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph((__m512)value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
    __m256 part[2];
    std::memcpy(part, &value, sizeof part);
    for (int i = 0; i < 2; ++i)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8 * i), _mm256_cvtps_ph(part[i], _MM_FROUND_TO_NEAREST_INT));
#else
    for (int lane = 0; lane < LANES; ++lane) to[lane] = to_half(value[lane]);
#endif
}

// Numbers of the cache, whichever way it keeps them.
static inline F fetch(const float* from) { return load(from); }
static inline F fetch(const uint16_t* from) { return load_half(from); }
static inline void keep(float* to, F value) { store(to, value); }
static inline void keep(uint16_t* to, F value) { store_half(to, value); }

// acc[lane] += sum over 4 bytes of weights[4 lane + i] (unsigned) * four[i] (signed); nothing saturates.
static inline I dot(I acc, Bytes weights, const int8_t* four) {
    int32_t word;
    std::memcpy(&word, four, sizeof word);
#if defined(__AVX512VNNI__)
    return (I)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)weights, _mm512_set1_epi32(word));
#elif defined(__AVX2__)
    const __m256i x = _mm256_cvtepi8_epi16(_mm_set1_epi32(word));
    __m256i part[2];
    for (int half = 0; half < 2; ++half) {
        const __m128i* bytes = reinterpret_cast<const __m128i*>(&weights) + 2 * half;
        const __m256i low = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(bytes)), x);
        const __m256i high = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(bytes + 1)), x);
        part[half] = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xd8);
    }
    I products;
    std::memcpy(&products, part, sizeof products);
    return acc + products;
#else
    for (int lane = 0; lane < LANES; ++lane)
        for (int i = 0; i < 4; ++i) acc[lane] += int(weights[4 * lane + i]) * int(four[i]);
    return acc;
#endif
}

// The same for signed bytes and four numbers from 0 to 127: two products then fit into 16 bits.
static inline I dot_weights(I acc, Bytes bytes, const int8_t* four) {
    int32_t word;
    std::memcpy(&word, four, sizeof word);
#if defined(__AVX512VNNI__)
    return (I)_mm512_dpbusd_epi32((__m512i)acc, _mm512_set1_epi32(word), (__m512i)bytes);
#elif defined(__AVX2__)
    const __m256i x = _mm256_set1_epi32(word), ones = _mm256_set1_epi16(1);
    __m256i part[2];
    std::memcpy(part, &bytes, sizeof part);
    for (__m256i& half : part) half = _mm256_madd_epi16(_mm256_maddubs_epi16(x, half), ones);
    I products;
    std::memcpy(&products, part, sizeof products);
    return acc + products;
#else
    for (int lane = 0; lane < LANES; ++lane)
        for (int i = 0; i < 4; ++i) acc[lane] += int(int8_t(bytes[4 * lane + i])) * int(four[i]);
    return acc;
#endif
}

}  // namespace genwerk
