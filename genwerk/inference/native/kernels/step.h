// One step of the decoder over all its layers, for all tokens of a batch: prompts, parts of prompts and single tokens.
//
//     x <- x + W_out attention(rope(q), rope(K), V),   q, k, v = W_qkv rms(x)
//     x <- x + W_down ( silu(W_gate rms(x)) * W_up rms(x) )
//     logits = W_vocab rms(x), only for the rows that are wanted
//
// Every weight is read once for the whole batch. Each row is computed in an order of its own that no neighbour changes.
#pragma once

#include <algorithm>
#include <vector>

#include "attention_bytes.h"
#include "attention_tiles.h"
#include "experts.h"

namespace genwerk {

// Rows from..to of one sequence with all query heads of one key head.
struct Piece {
    int sequence, from, to, head;
};

// Memory of a step, kept for the next one.
struct Scratch {
    Lines<float> x, normal, wide, near, mixed, tiles, scale, total, low_rank, update;
    Lines<int8_t> whole;
    std::vector<int32_t> shift, sequence;
    std::vector<Piece> pieces;
    Seats seats;
};

class Step {
    friend class Experts<Step>;

public:
    Step(const Model& model, const LayerUpdates* const* updates, const Cache& cache, const Batch& batch,
         Scratch& scratch, Pool& pool)
        : model_(model), updates_(updates), cache_(cache), batch_(batch), scratch_(scratch), pool_(pool) {}

    void run() {
        reserve();
        look_up();
        for (int layer = 0; layer < model_.n_layers; ++layer) {
            const Layer& l = model_.layers[layer];
            normalise(l.attention_norm, l.qkv);
            project(layer, l.qkv, &LayerUpdates::qkv, scratch_.normal, scratch_.wide, false);
            attend_all(layer);
            to_whole(scratch_.mixed, l.out);
            project(layer, l.out, &LayerUpdates::out, scratch_.mixed, scratch_.x, true);
            if (l.experts) {
                normalise(l.feed_forward_norm, l.router);
                Experts<Step>(*this, l).run();
                continue;
            }
            normalise(l.feed_forward_norm, l.gate_up);
            feed_forward(layer);
            to_whole(scratch_.mixed, l.down);
            project(layer, l.down, &LayerUpdates::down, scratch_.mixed, scratch_.x, true);
        }
        answer();
    }

private:
    int rows() const { return batch_.first[batch_.n_sequences]; }

    void reserve() {
        const size_t n = size_t(rows()), seats = n * size_t(std::max(1, model_.n_chosen));
        const int qkv = model_.layers[0].qkv.outputs, out_in = model_.layers[0].out.inputs;
        const int widest = std::max({model_.width, model_.hidden, out_in});
        grow(scratch_.x, n * model_.width);
        grow(scratch_.normal, n * model_.width);
        grow(scratch_.wide, n * qkv);
        if (model_.sinks) grow(scratch_.near, n * out_in);
        grow(scratch_.mixed, seats * std::max(model_.hidden, out_in));
        grow(scratch_.tiles, seats * widest);
        grow(scratch_.scale, seats * widest / PANEL);
        grow(scratch_.total, seats * widest / PANEL);
        grow(scratch_.shift, seats);
        grow(scratch_.whole, (seats + 2 * LANES) * depth(widest));  // tiles read whole rows of tiles
        scratch_.sequence.resize(n);
        for (int s = 0; s < batch_.n_sequences; ++s)
            for (int row = batch_.first[s]; row < batch_.first[s + 1]; ++row) scratch_.sequence[row] = s;
    }

    template <class Memory>
    static void grow(Memory& memory, size_t size) {
        if (memory.size() < size) memory.resize(size);
    }

    // Rows in pieces that are worth waking a thread for.
    template <class Body>
    void each_row(int count, const Body& body, int together = 8) {
        pool_.run((count + together - 1) / together, [&](int piece) {
            const int last = std::min(count, (piece + 1) * together);
            for (int row = piece * together; row < last; ++row) body(row);
        });
    }

    void look_up() {
        const Matrix& table = model_.embed ? *model_.embed : model_.unembed;
        each_row(rows(), [&](int row) {
            const int token = batch_.tokens[row], panel = token / PANEL, column = token % PANEL;
            float* x = scratch_.x.data() + size_t(row) * model_.width;
            if (table.format == FLOAT32) {
                const float* from = static_cast<const float*>(table.data) + int64_t(panel) * table.inputs * PANEL + column;
                for (int i = 0; i < model_.width; ++i) x[i] = from[int64_t(i) * PANEL];
            } else {  // embeddings are never INT4 (weights.py)
                const int filled = depth(table.inputs);
                const uint8_t* from = static_cast<const uint8_t*>(table.data) + int64_t(panel) * filled * PANEL + 4 * column;
                for (int i = 0; i < filled; i += TURNED) {
                    alignas(64) float whole[TURNED];
                    for (int j = 0; j < TURNED; ++j) whole[j] = float(int(from[(i + j) / 4 * 4 * PANEL + j % 4]) - 128);
                    F part[4] = {load(whole), load(whole + 16), load(whole + 32), load(whole + 48)};
                    hadamard(part);  // back
                    for (int j = 0; j < 4 && i + LANES * j < model_.width; ++j)
                        store(x + i + LANES * j, part[j] * (0.125f * table.scale[token]));
                }
                std::fill(x + model_.d_model, x + model_.width, 0.0f);  // what rounding left in the filling
            }
        });
    }

    void normalise_row(const float* x, const float* weight, float* out) const {
        F squares = F{};
        for (int i = 0; i < model_.width; i += LANES) squares += load(x + i) * load(x + i);
        const float inverse = 1.0f / std::sqrt(sum(squares) / float(model_.d_model) + model_.eps);
        for (int i = 0; i < model_.width; i += LANES) store(out + i, load(x + i) * inverse * load(weight + i));
    }

    // Row `row` as the product with `w` reads it.
    void quantise_row(const float* x, int row, const Matrix& w) {
        const int groups = w.inputs / PANEL;
        if (w.format == INT8)
            scratch_.shift[row] = quantise_turned(x, w.inputs, scratch_.whole.data() + size_t(row) * depth(w.inputs),
                                                  scratch_.scale.data() + row);
        if (w.format == INT4)
            quantise_groups(x, w.inputs, scratch_.whole.data() + size_t(row) * w.inputs,
                            scratch_.scale.data() + size_t(row) * groups, scratch_.total.data() + size_t(row) * groups);
    }

    void normalise(const float* weight, const Matrix& next) {
        each_row(rows(), [&](int row) {
            float* out = scratch_.normal.data() + size_t(row) * model_.width;
            normalise_row(scratch_.x.data() + size_t(row) * model_.width, weight, out);
            quantise_row(out, row, next);
        });
    }

    void to_whole(const Lines<float>& from, const Matrix& next) {
        if (next.format == FLOAT32) return;
        each_row(rows(), [&](int row) { quantise_row(from.data() + size_t(row) * next.inputs, row, next); });
    }

    // `count` rows from `from` as the product with a matrix of this format reads them.
    Rows input(const Matrix& w, const float* from, int count) {
        if (w.format != FLOAT32) return whole();
        if (count == 1) return {from};
        pool_.run((count + MOST_TOGETHER - 1) / MOST_TOGETHER, [&](int tile) {
            const int first = tile * MOST_TOGETHER, rows = std::min(MOST_TOGETHER, count - first);
            const float* x = from + int64_t(first) * w.inputs;
            float* to = scratch_.tiles.data() + int64_t(first) * w.inputs;
            for (int k = 0; k < w.inputs; ++k)
                for (int m = 0; m < rows; ++m) *to++ = x[int64_t(m) * w.inputs + k];
        });
        return {scratch_.tiles.data()};
    }

    Rows whole() const {
        return {nullptr, scratch_.whole.data(), scratch_.scale.data(), scratch_.total.data(), scratch_.shift.data()};
    }

    // Adds b (a x) of each sequence's adapter into `update` ([rows][outputs]); false where no row has one.
    bool low_rank(int layer, Update LayerUpdates::*which, const Lines<float>& from, int outputs) {
        bool any = false;
        for (int s = 0; s < batch_.n_sequences; ++s) {
            const Update* one = update_of(layer, which, s);
            if (!one) continue;
            if (!any) {
                grow(scratch_.update, size_t(rows()) * outputs);
                std::fill_n(scratch_.update.begin(), size_t(rows()) * outputs, 0.0f);
                any = true;
            }
            grow(scratch_.low_rank, size_t(rows()) * one->a.outputs);
            grow(scratch_.tiles, size_t(rows()) * one->a.outputs);
            const int begin = batch_.first[s], end = batch_.first[s + 1];
            apply(one->a, from, begin, end, scratch_.low_rank);
            apply(one->b, scratch_.low_rank, begin, end, scratch_.update);
        }
        return any;
    }

    const Update* update_of(int layer, Update LayerUpdates::*which, int sequence) const {
        const int adapter = batch_.adapter[sequence];
        if (adapter < 0) return nullptr;
        const Update& one = updates_[adapter][layer].*which;
        return one.a.data ? &one : nullptr;
    }

    static auto copy_to(float* out, int outputs, int panel) {
        return [=](int first, int rows, const Values* values) {
            for (int m = 0; m < rows; ++m)
                std::memcpy(out + size_t(first + m) * outputs + size_t(panel) * PANEL, values[0] + m * PANEL, sizeof(float) * PANEL);
        };
    }

    // Rows begin..end of out = those of from times w.
    void apply(const Matrix& w, const Lines<float>& from, int begin, int end, Lines<float>& out) {
        const Rows x = input(w, from.data() + size_t(begin) * w.inputs, end - begin);
        float* first = out.data() + size_t(begin) * w.outputs;
        each_panel(pool_, w.outputs / PANEL, 1, [&](int panel) {
            panel_product<1>(w, panel, x, end - begin, copy_to(first, w.outputs, panel));
        });
    }

    void project(int layer, const Matrix& w, Update LayerUpdates::*which, const Lines<float>& from,
                 Lines<float>& out, bool add) {
        const bool updated = low_rank(layer, which, from, w.outputs);
        const Rows x = input(w, from.data(), rows());
        each_panel(pool_, w.outputs / PANEL, 1, [&](int panel) {
            panel_product<1>(w, panel, x, rows(), [&](int first, int count, const Values* values) {
                for (int m = 0; m < count; ++m) {
                    const size_t at = size_t(first + m) * w.outputs + size_t(panel) * PANEL;
                    for (int i = 0; i < PANEL; i += LANES) {
                        F value = load(values[0] + m * PANEL + i);
                        if (updated) value += load(scratch_.update.data() + at + i);
                        if (add) value += load(out.data() + at + i);
                        store(out.data() + at + i, value);
                    }
                }
            });
        });
    }

    // The gate's panel and the up's panel are neighbours, so both are at hand where their product is taken.
    void feed_forward(int layer) {
        const Matrix& w = model_.layers[layer].gate_up;
        const bool updated = low_rank(layer, &LayerUpdates::gate_up, scratch_.normal, w.outputs);
        const Rows x = input(w, scratch_.normal.data(), rows());
        each_panel(pool_, w.outputs / PANEL, 2, [&](int panel) {
            panel_product<2>(w, panel, x, rows(), [&](int first, int count, const Values* values) {
                for (int m = 0; m < count; ++m) {
                    const float* update = scratch_.update.data() + size_t(first + m) * w.outputs + size_t(panel) * PANEL;
                    float* out = scratch_.mixed.data() + size_t(first + m) * model_.hidden + size_t(panel) / 2 * PANEL;
                    for (int i = 0; i < PANEL; i += LANES) {
                        F gate = load(values[0] + m * PANEL + i), up = load(values[1] + m * PANEL + i);
                        if (updated) gate += load(update + i), up += load(update + PANEL + i);
                        store(out + i, gated(gate, up));
                    }
                }
            });
        });
    }

    template <class Kept>
    int64_t block_size() const {
        return model_.n_kv_heads * numbers_of<Kept>(model_.head);
    }
    template <class Kept>
    Kept* keys_of(int layer, int head) const {
        return static_cast<Kept*>(cache_.keys) + at<Kept>(layer, head);
    }
    template <class Kept>
    Kept* values_of(int layer, int head) const {
        return static_cast<Kept*>(cache_.values) + at<Kept>(layer, head);
    }
    template <class Kept>
    int64_t at(int layer, int head) const {
        return layer * cache_.n_blocks * block_size<Kept>() + head * numbers_of<Kept>(model_.head);
    }
    const int32_t* table_of(int sequence) const { return batch_.tables + batch_.table[sequence]; }
    float* qkv_of(int row) { return scratch_.wide.data() + size_t(row) * model_.layers[0].qkv.outputs; }

    float* near_of(int row) { return scratch_.near.data() + size_t(row) * model_.n_heads * model_.head; }

    // Turns queries and keys to their positions and writes keys and values into the cache.
    template <class Kept>
    void place(int layer) {
        const Layer& l = model_.layers[layer];
        const int head = model_.head, heads = model_.n_heads, groups = model_.n_kv_heads;
        const float soften = 1.0f / std::sqrt(float(model_.head_dim));
        each_row(rows(), [&](int row) {
            const int s = scratch_.sequence[row], position = batch_.start[s] + row - batch_.first[s];
            float* qkv = qkv_of(row);
            const auto turn_queries = [&](float* q, int to) {
                for (int h = 0; h < heads; ++h) {
                    turn(q + h * head, l.query_norm, to);
                    for (int d = 0; d < head; ++d) q[h * head + d] *= soften;
                }
            };
            if (model_.sinks) {
                std::memcpy(near_of(row), qkv, sizeof(float) * size_t(heads) * head);
                turn_queries(near_of(row), std::min(position, l.window + model_.sinks - 1));
            }
            turn_queries(qkv, position);
            const int64_t block = table_of(s)[position / PANEL] * block_size<Kept>();
            const int slot = position % PANEL;
            const bool fresh = row + 1 == batch_.first[s + 1] && position - slot >= batch_.start[s];  // ends a new block
            for (int g = 0; g < groups; ++g) {
                float* key = qkv + (heads + g) * head;
                turn(key, l.key_norm, position);
                keep_key(keys_of<Kept>(layer, g) + block, slot, key, head);
                keep_value(values_of<Kept>(layer, g) + block, slot, key + groups * head, head, fresh);
            }
        }, rows() > 2 * PANEL ? PANEL : 8);  // of a long prompt whole blocks, so that no line of the cache is two threads'
    }

    void turn(float* x, const float* norm, int position) const {
        const int half = model_.head_dim / 2;
        if (norm) {
            F squares = F{};
            for (int d = 0; d < model_.head; d += LANES) squares += load(x + d) * load(x + d);
            const float inverse = 1.0f / std::sqrt(sum(squares) / float(model_.head_dim) + model_.eps);
            for (int d = 0; d < model_.head; d += LANES) store(x + d, load(x + d) * inverse * load(norm + d));
        }
        const float *cos = model_.cos + int64_t(position) * half, *sin = model_.sin + int64_t(position) * half;
        int d = 0;
        for (; d + LANES <= half; d += LANES) {
            const F a = load(x + d), b = load(x + d + half), c = load(cos + d), s = load(sin + d);
            store(x + d, a * c - b * s);
            store(x + d + half, b * c + a * s);
        }
        for (; d < half; ++d) {
            const float a = x[d], b = x[d + half];
            x[d] = a * cos[d] - b * sin[d];
            x[d + half] = b * cos[d] + a * sin[d];
        }
    }

    void attend_all(int layer) {
        if (cache_.format == FLOAT32) attend_all<float>(layer);
        if (cache_.format == FLOAT16) attend_all<uint16_t>(layer);
        if (cache_.format == INT8) attend_all<uint8_t>(layer);
#if defined(__AMX_BF16__)
        if (cache_.format == BFLOAT16) attend_all<Bfloat16>(layer);
#endif
    }

    template <class Kept>
    void attend_all(int layer) {
        place<Kept>(layer);
        const int share = model_.n_heads / model_.n_kv_heads, tokens = MOST_QUERIES;
        scratch_.pieces.clear();
        for (int s = 0; s < batch_.n_sequences; ++s)
            for (int row = batch_.first[s]; row < batch_.first[s + 1]; row += tokens)
                for (int g = 0; g < model_.n_kv_heads; ++g)
                    scratch_.pieces.push_back({s, row, std::min(row + tokens, batch_.first[s + 1]), g});
        pool_.run(int(scratch_.pieces.size()), [&](int i) { attend_piece<Kept>(layer, scratch_.pieces[size_t(i)], share); });
    }

    template <class Kept>
    void attend_piece(int layer, const Piece& piece, int share) {
        const int head = model_.head, width = model_.layers[0].out.inputs, count = (piece.to - piece.from) * share;
        const Head<Kept> cached{table_of(piece.sequence), keys_of<Kept>(layer, piece.head),
                                values_of<Kept>(layer, piece.head), block_size<Kept>(), head, model_.layers[layer].window, model_.sinks};
        for (int begin = 0; begin < count; begin += MOST_QUERIES) {
            Queries queries;
            const int n = std::min(MOST_QUERIES, count - begin);
            for (int r = 0; r < n; ++r) {
                const int row = piece.from + (begin + r) / share, h = piece.head * share + (begin + r) % share;
                queries.q[r] = qkv_of(row) + h * head;
                queries.near[r] = model_.sinks ? near_of(row) + h * head : nullptr;
                queries.out[r] = scratch_.mixed.data() + size_t(row) * width + size_t(h) * head;
                queries.position[r] = batch_.start[piece.sequence] + row - batch_.first[piece.sequence];
            }
            attend(queries, n, cached);
        }
    }

    void answer() {
        const Matrix& w = model_.unembed;
        each_row(batch_.n_wanted, [&](int i) {
            float* out = scratch_.normal.data() + size_t(i) * model_.width;
            normalise_row(scratch_.x.data() + size_t(batch_.wanted[i]) * model_.width, model_.final_norm, out);
            quantise_row(out, i, w);
        });
        const Rows x = input(w, scratch_.normal.data(), batch_.n_wanted);
        each_panel(pool_, w.outputs / PANEL, 1, [&](int panel) {
            panel_product<1>(w, panel, x, batch_.n_wanted, copy_to(batch_.logits, w.outputs, panel));
        });
    }

    const Model& model_;
    const LayerUpdates* const* updates_;
    const Cache& cache_;
    const Batch& batch_;
    Scratch& scratch_;
    Pool& pool_;
};

}  // namespace genwerk
