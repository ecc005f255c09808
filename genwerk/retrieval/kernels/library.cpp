// Products of one vector of bytes with many: the inner loop of the search by meaning (scan.py).
//
//   out[i] = sum_j rows[i, j] * query[j]          rows (n, d) and query (d,) signed bytes, sums exact
//
// The query comes as unsigned bytes, moved up by 128, because processors multiply unsigned with signed ones; what that
// adds, 128 times the sum of a row, is taken off again. Plain loops: the compiler turns them into vectors.

#include <cstdint>

extern "C" void genwerk_scan(const int8_t *rows, int64_t n, int64_t d, const uint8_t *query, const int32_t *sums,
                             int32_t *out) {
    for (int64_t i = 0; i < n; ++i) {
        const int8_t *row = rows + i * d;
        __builtin_prefetch(row + 16 * d);
        int32_t sum = 0;
        for (int64_t j = 0; j < d; ++j) sum += static_cast<int32_t>(query[j]) * static_cast<int32_t>(row[j]);
        out[i] = sum - 128 * sums[i];
    }
}
