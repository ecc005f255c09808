// The inner loops of both searches (scan.py, bm25.py). Plain loops: the compiler turns them into vectors.

#include <cstdint>

// out[i] = scale * scales[i] * sum_j rows[i, j] * query[j]          rows (n, d) and query (d,) signed bytes
//
// The query comes as unsigned bytes, moved up by 128, because processors multiply unsigned with signed ones; what that
// adds, 128 times the sum of a row, is taken off again.
extern "C" void genwerk_scan(const int8_t *rows, int64_t n, int64_t d, const uint8_t *query, const int32_t *sums,
                             const float *scales, float scale, float *out) {
    for (int64_t i = 0; i < n; ++i) {
        const int8_t *row = rows + i * d;
        __builtin_prefetch(row + 16 * d);
        int32_t sum = 0;
        for (int64_t j = 0; j < d; ++j) sum += static_cast<int32_t>(query[j]) * static_cast<int32_t>(row[j]);
        out[i] = static_cast<float>(sum - 128 * sums[i]) * (scale * scales[i]);
    }
}

// scores[rows[i]] += weight * f / (f + norms[rows[i]])          f = counts[i]; no row twice
extern "C" void genwerk_words(const uint32_t *rows, const uint16_t *counts, int64_t n, const double *norms, double weight,
                              double *scores) {
    for (int64_t i = 0; i < n; ++i) {
        const double often = counts[i];
        scores[rows[i]] += weight * (often / (often + norms[rows[i]]));
    }
}
