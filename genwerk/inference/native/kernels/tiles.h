// Intel's tile registers (AMX): sixteen rows times sixteen columns at once.
//
// What GCC offers for them neither tells the compiler which memory they read nor lets a tile be a template's argument.
#pragma once

#include <cstdint>

namespace genwerk {

#if defined(__AMX_BF16__)

struct alignas(64) TileShapes {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
};

constexpr TileShapes WHOLE_TILES{1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
// What is multiplied is half as deep: 4 and 5 have 32 bytes in a row, 6 and 7 eight rows.
constexpr TileShapes HALF_TILES{1, 0, {}, {64, 64, 64, 64, 32, 32, 64, 64}, {16, 16, 16, 16, 16, 16, 8, 8}};

// Eight tiles of 16 rows of 64 bytes, or of other shapes, on this thread while it lives, if they are needed.
class Tiles {
public:
    explicit Tiles(bool needed = true, const TileShapes& shapes = WHOLE_TILES) : needed_(needed) {
        if (needed_) asm volatile("ldtilecfg %0" ::"m"(shapes));
    }
    ~Tiles() {
        if (needed_) asm volatile("tilerelease" ::: "memory");
    }
    Tiles(const Tiles&) = delete;

private:
    const bool needed_;
};

template <int T>
static inline void zero_tile() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
}

template <int T>
static inline void load_tile(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
}

template <int T>
static inline void store_tile(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
}

// sums[m][n] += a[m][2 k] b[k][2 n] + a[m][2 k + 1] b[k][2 n + 1] over k: pairs of bfloat16, sums in float.
template <int Sums, int A, int B>
static inline void add_products() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(A), "i"(B));
}

// sums[m][n] += a[m][4 k + i] b[k][4 n + i] over k and i < 4: bytes, signed in `a` and unsigned in `b`, sums of 32 bits.
template <int Sums, int A, int B>
static inline void add_byte_products() {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(A), "i"(B));
}

// The same for bytes that are signed in both.
template <int Sums, int A, int B>
static inline void add_signed_products() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(A), "i"(B));
}

#else

struct Tiles {
    explicit Tiles(bool) {}
};

#endif

}  // namespace genwerk
