// A BERT encoder in whole numbers: texts of any lengths, one behind the other without filling, to one vector each.
//
//     x <- LN(x + W_out attention(q, k, v)),   x <- LN(x + W_down gelu(W_up x)),   vector = mean of x, of length 1
//
// Rows of the products are whole numbers with one scale a row, weights with one scale an output (words.h); what is added
// and normalised stays in float. Some texts at a time go through all layers on one core, so that their rows stay in its
// cache and no core waits for another between layers. A text's numbers do not depend on its neighbours.
#pragma once

#include <algorithm>
#include <vector>

#include "attention.h"
#include "words.h"

extern "C" {

struct EncoderLayer {
    WordMatrix qkv, out, up, down;
    const float *attention_weight, *attention_bias, *weight, *bias;  // of the norms, [width]
};

// width: d_model, a multiple of 32; head: d_model / n_heads, a multiple of 16; hidden: d_ff padded to 32.
struct EncoderModel {
    int32_t n_layers, n_heads, head, width, hidden;
    float eps;
    const EncoderLayer* layers;
    const float *words, *positions, *weight, *bias;  // `positions` with the first text's type added; of the first norm
};

// Tokens of text t are first[t] .. first[t + 1]; `vectors` is [n][width].
struct Texts {
    int32_t n;
    const int32_t *tokens, *first;
    float* vectors;
};

}  // extern "C"

namespace genwerk {

constexpr int SOME_ROWS = 192;  // of texts that go together; a longer text goes alone

// gelu(x) = x Φ(x), with Φ by Abramowitz and Stegun (1964), 7.1.26: off by less than 1e-6.
static inline F gelu(F x) {
    I bits = magnitude(x);
    F size;
    std::memcpy(&size, &bits, sizeof size);
    const F z = size * 0.70710678118654752f, t = 1.0f / (1.0f + z * 0.3275911f);
    F p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = (p * t + 0.254829592f) * t;
    const F tail = p * exponential(-z * z) * 0.5f;  // 1 - Φ(|x|)
    return x * (x > F{} ? 1.0f - tail : tail);
}

static inline void normalise_layer(float* x, int width, const float* weight, const float* bias, float eps) {
    F total = F{}, squares = F{};
    for (int i = 0; i < width; i += LANES) total += load(x + i);
    const float mean = sum(total) / float(width);
    for (int i = 0; i < width; i += LANES) {
        const F off = load(x + i) - mean;
        squares += off * off;
    }
    const float inverse = 1.0f / std::sqrt(sum(squares) / float(width) + eps);
    for (int i = 0; i < width; i += LANES) store(x + i, (load(x + i) - mean) * inverse * load(weight + i) + load(bias + i));
}

// Memory of one core, kept for the next texts.
struct EncoderScratch {
    Lines<float> x, wide, mixed, keys, values, scale, turned;
    Lines<int16_t> whole;
    std::vector<int32_t> table;

    void reserve(const EncoderModel& m, int rows, int longest) {
        const int widest = std::max(3 * m.width, m.hidden), blocks = (longest + PANEL - 1) / PANEL;
        grow(x, size_t(rows) * m.width), grow(wide, size_t(rows) * widest), grow(mixed, size_t(rows) * m.width);
        grow(keys, size_t(blocks) * PANEL * m.head), grow(values, size_t(blocks) * PANEL * m.head);
        const size_t deepest = size_t(depth(std::max(m.width, m.hidden)));
        grow(scale, rows), grow(turned, deepest), grow(whole, rows * deepest);
        for (int block = int(table.size()); block < blocks; ++block) table.push_back(block);
    }

    template <class Memory>
    static void grow(Memory& memory, size_t size) {
        if (memory.size() < size) memory.resize(size);
    }
};

// Texts from..to of a batch on one core.
class Encode {
public:
    Encode(const EncoderModel& model, const Texts& texts, int from, int to, EncoderScratch& scratch)
        : model_(model), texts_(texts), from_(from), to_(to), rows_(texts.first[to] - texts.first[from]), scratch_(scratch) {}

    void run() {
        int longest = 0;
        for (int t = from_; t < to_; ++t) longest = std::max(longest, length(t));
        scratch_.reserve(model_, rows_, longest);
        look_up();
        for (int i = 0; i < model_.n_layers; ++i) {
            const EncoderLayer& l = model_.layers[i];
            multiply(l.qkv, x(), [](float* to, F value) { store(to, value); }, wide());
            for (int t = from_; t < to_; ++t) attend_text(t);
            multiply(l.out, mixed(), [](float* to, F value) { store(to, load(to) + value); }, x());
            normalise(l.attention_weight, l.attention_bias);
            multiply(l.up, x(), [](float* to, F value) { store(to, gelu(value)); }, wide());
            multiply(l.down, wide(), [](float* to, F value) { store(to, load(to) + value); }, x());
            normalise(l.weight, l.bias);
        }
        for (int t = from_; t < to_; ++t) average(t);
    }

private:
    float* x() { return scratch_.x.data(); }
    float* wide() { return scratch_.wide.data(); }
    float* mixed() { return scratch_.mixed.data(); }
    int length(int text) const { return texts_.first[text + 1] - texts_.first[text]; }
    int row_of(int text) const { return texts_.first[text] - texts_.first[from_]; }

    void normalise(const float* weight, const float* bias) {
        for (int row = 0; row < rows_; ++row)
            normalise_layer(x() + int64_t(row) * model_.width, model_.width, weight, bias, model_.eps);
    }

    void look_up() {
        for (int t = from_; t < to_; ++t)
            for (int i = 0; i < length(t); ++i) {
                const float* word = model_.words + int64_t(texts_.tokens[texts_.first[t] + i]) * model_.width;
                const float* position = model_.positions + int64_t(i) * model_.width;
                float* to = x() + int64_t(row_of(t) + i) * model_.width;
                for (int d = 0; d < model_.width; d += LANES) store(to + d, load(word + d) + load(position + d));
            }
        normalise(model_.weight, model_.bias);
    }

    // put(to[row][output], value) for all products of the rows of `from` with w.
    template <class Put>
    void multiply(const WordMatrix& w, const float* from, const Put& put, float* to) {
        const int filled = depth(w.inputs);
        int16_t* whole = scratch_.whole.data();
        float* scale = scratch_.scale.data();
        for (int row = 0; row < rows_; ++row)
            scale[row] = quantise_words(from + int64_t(row) * w.inputs, w.inputs, whole + int64_t(row) * filled, scratch_.turned.data());
        alignas(64) float found[MOST_TOGETHER * PANEL];
        for (int panel = 0; panel < w.outputs / PANEL; ++panel)
            for (int row = 0; row < rows_; row += MOST_TOGETHER) {
                const int some = std::min(MOST_TOGETHER, rows_ - row);
                TILES_WORDS[some - 1](w, panel, whole + int64_t(row) * filled, scale + row, found);
                for (int m = 0; m < some; ++m)
                    for (int i = 0; i < PANEL; i += LANES)
                        put(to + int64_t(row + m) * w.outputs + panel * PANEL + i, load(found + m * PANEL + i));
            }
    }

    // Every token of a text sees all of it. The scale 1 / sqrt(head) is in the weights of the queries.
    void attend_text(int text) {
        const int head = model_.head, width = model_.width, count = length(text), block = PANEL * head;
        float* first = wide() + int64_t(row_of(text)) * 3 * width;
        for (int h = 0; h < model_.n_heads; ++h) {
            for (int i = 0; i < count; ++i) {
                const float* key = first + int64_t(i) * 3 * width + width + h * head;
                keep_key(scratch_.keys.data() + i / PANEL * block, i % PANEL, key, head);
                keep_value(scratch_.values.data() + i / PANEL * block, i % PANEL, key + width, head, false);
            }
            const Head<float> all_of{scratch_.table.data(), scratch_.keys.data(), scratch_.values.data(), block, head, 0, 0};
            for (int begin = 0; begin < count; begin += MOST_QUERIES) {
                Queries queries;
                const int some = std::min(MOST_QUERIES, count - begin);
                for (int r = 0; r < some; ++r) {
                    queries.q[r] = first + int64_t(begin + r) * 3 * width + h * head;
                    queries.out[r] = mixed() + int64_t(row_of(text) + begin + r) * width + h * head;
                    queries.position[r] = count - 1;
                }
                attend(queries, some, all_of);
            }
        }
    }

    void average(int text) {
        const int width = model_.width;
        float* to = texts_.vectors + int64_t(text) * width;
        F squares = F{};
        for (int d = 0; d < width; d += LANES) {
            F total = F{};
            for (int i = 0; i < length(text); ++i) total += load(x() + int64_t(row_of(text) + i) * width + d);
            squares += total * total;
            store(to + d, total);
        }
        const float inverse = 1.0f / std::sqrt(sum(squares));
        for (int d = 0; d < width; d += LANES) store(to + d, load(to + d) * inverse);
    }

    const EncoderModel& model_;
    const Texts& texts_;
    const int from_, to_, rows_;
    EncoderScratch& scratch_;
};

// All texts, some at a time on each core.
static void encode(const EncoderModel& model, const Texts& texts, Pool& pool) {
    std::vector<int> starts{0};
    for (int t = 1; t < texts.n; ++t)
        if (texts.first[t + 1] - texts.first[starts.back()] > SOME_ROWS) starts.push_back(t);
    starts.push_back(texts.n);
    pool.run(int(starts.size()) - 1, [&](int i) {
        static thread_local EncoderScratch scratch;
        Encode(model, texts, starts[size_t(i)], starts[size_t(i) + 1], scratch).run();
    });
}

}  // namespace genwerk
