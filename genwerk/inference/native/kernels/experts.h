// A mixture of experts in place of the feed-forward part: each row is computed by the few experts its router chooses.
//
//     p = softmax(R x),   x <- x + sum over the k largest p_e of p_e (/ their sum) expert_e(x)
//
// A row takes a seat with each of its experts. Seats are in the order of the experts, so that an expert's weights are read
// once for all its rows. The router is float; a row adds up its experts in the order of their numbers, whoever sits beside
// it, so its result is the same alone or among many.
#pragma once

#include <algorithm>
#include <vector>

#include "matmul.h"

namespace genwerk {

// Who sits where; kept for the next step.
struct Seats {
    std::vector<int32_t> chosen, seat;  // [rows][n_chosen]: experts of a row by number, and its seats with them
    Lines<float> share;                 // [rows][n_chosen]
    std::vector<int32_t> row, first;    // [seats]; [n_experts + 1]: the first seat of each expert
    std::vector<int32_t> busy;          // experts that have rows
    Lines<float> router, answers;
};

// The `count` largest of `size` logits by number, with their shares. Of equals the first is taken; logits that are no
// numbers give shares that are none.
static inline void choose(float* logits, int size, int count, bool normalise, int32_t* chosen, float* share) {
    const float top = *std::max_element(logits, logits + size);
    float total = 0.0f;
    for (int e = 0; e < size; ++e) total += logits[e] = std::exp(logits[e] - top);  // vector.h's has no NaN
    float taken = 0.0f;
    for (int i = 0; i < count; ++i) {
        int best = -1;
        for (int e = 0; e < size; ++e) {
            const bool free = std::find(chosen, chosen + i, e) == chosen + i;
            if (free && (best < 0 || logits[e] > logits[best])) best = e;
        }
        chosen[i] = best;
        taken += logits[best] / total;
    }
    std::sort(chosen, chosen + count);
    for (int i = 0; i < count; ++i) share[i] = logits[chosen[i]] / total / (normalise ? taken : 1.0f);
}

static inline void take_seats(Seats& seats, int rows, int n_experts, int n_chosen) {
    const int count = rows * n_chosen;
    seats.row.resize(size_t(count));
    seats.seat.resize(size_t(count));
    seats.first.assign(size_t(n_experts) + 1, 0);
    seats.busy.clear();
    for (int i = 0; i < count; ++i) ++seats.first[size_t(seats.chosen[i]) + 1];
    for (int e = 0; e < n_experts; ++e) {
        if (seats.first[e + 1]) seats.busy.push_back(e);
        seats.first[e + 1] += seats.first[e];
    }
    std::vector<int32_t> next(seats.first.begin(), seats.first.end() - 1);
    for (int i = 0; i < count; ++i) {
        const int seat = next[seats.chosen[i]]++;
        seats.seat[i] = seat;
        seats.row[seat] = i / n_chosen;
    }
}

// One layer of a step (step.h).
template <class Step>
class Experts {
public:
    Experts(Step& step, const Layer& layer) : step_(step), model_(step.model_), layer_(layer), seats_(step.scratch_.seats) {}

    // Reads the normalised rows and adds to the stream.
    void run() {
        route();
        take_seats(seats_, step_.rows(), model_.n_experts, model_.n_chosen);
        const Matrix &gate_up = layer_.experts[0].gate_up, &down = layer_.experts[0].down;
        prepare(gate_up, step_.scratch_.normal, [&](int seat) { return seats_.row[seat]; });
        each_panel_of_all(gate_up, 2, [&](int expert, int panel) { multiply_gate_up(layer_.experts[expert].gate_up, expert, panel); });
        prepare(down, step_.scratch_.mixed, [&](int seat) { return seat; });
        step_.grow(seats_.answers, seats_.row.size() * size_t(model_.width));
        each_panel_of_all(down, 1, [&](int expert, int panel) { multiply_down(layer_.experts[expert].down, expert, panel); });
        add_up();
    }

private:
    void route() {
        const Matrix& w = layer_.router;
        const int rows = step_.rows(), n_chosen = model_.n_chosen;
        const Rows x = step_.input(w, step_.scratch_.normal.data(), rows);
        step_.grow(seats_.router, size_t(rows) * w.outputs);
        seats_.chosen.resize(size_t(rows) * n_chosen);
        seats_.share.resize(size_t(rows) * n_chosen);
        each_panel(step_.pool_, w.outputs / PANEL, 1, [&](int panel) {
            panel_product<1>(w, panel, x, rows, Step::copy_to(seats_.router.data(), w.outputs, panel));
        });
        step_.each_row(rows, [&](int row) {
            const size_t at = size_t(row) * n_chosen;
            choose(seats_.router.data() + size_t(row) * w.outputs, model_.n_experts, n_chosen, model_.normalise_experts,
                   seats_.chosen.data() + at, seats_.share.data() + at);
        });
    }

    // The rows of all seats as products with such a matrix read them; tiles of floats begin anew with every expert.
    template <class Place>
    void prepare(const Matrix& w, const Lines<float>& from, const Place& row_of) {
        const auto x = [&](int seat) { return from.data() + size_t(row_of(seat)) * w.inputs; };
        if (w.format != FLOAT32) {
            step_.each_row(int(seats_.row.size()), [&](int seat) { step_.quantise_row(x(seat), seat, w); });
            return;
        }
        step_.pool_.run(int(seats_.busy.size()), [&](int i) {
            const int begin = seats_.first[seats_.busy[i]], end = seats_.first[seats_.busy[i] + 1];
            float* to = step_.scratch_.tiles.data() + size_t(begin) * w.inputs;
            for (int first = begin; first < end; first += MOST_TOGETHER)
                for (int k = 0, last = std::min(end, first + MOST_TOGETHER); k < w.inputs; ++k)
                    for (int seat = first; seat < last; ++seat) *to++ = x(seat)[k];
        });
    }

    Rows rows_of(const Matrix& w, int expert) const {
        const size_t first = size_t(seats_.first[expert]), groups = size_t(w.inputs) / PANEL;
        if (w.format == FLOAT32) return {step_.scratch_.tiles.data() + first * w.inputs};
        const Rows all = step_.whole();
        if (w.format == INT8) return {nullptr, all.whole + first * depth(w.inputs), all.scale + first, nullptr, all.shift + first};
        return {nullptr, all.whole + first * w.inputs, all.scale + first * groups, all.total + first * groups};
    }

    int count_of(int expert) const { return seats_.first[expert + 1] - seats_.first[expert]; }

    // body(expert, panel) for all experts that have rows.
    template <class Body>
    void each_panel_of_all(const Matrix& w, int step, const Body& body) {
        const int panels = w.outputs / PANEL;
        each_panel(step_.pool_, panels * int(seats_.busy.size()), step,
                   [&](int i) { body(seats_.busy[i / panels], i % panels); });
    }

    void multiply_gate_up(const Matrix& w, int expert, int panel) {
        float* target = step_.scratch_.mixed.data() + size_t(seats_.first[expert]) * model_.hidden + size_t(panel) / 2 * PANEL;
        panel_product<2>(w, panel, rows_of(w, expert), count_of(expert), [&](int first, int count, const Values* values) {
            for (int m = 0; m < count; ++m)
                for (int i = 0; i < PANEL; i += LANES) {
                    const F gate = load(values[0] + m * PANEL + i), up = load(values[1] + m * PANEL + i);
                    store(target + size_t(first + m) * model_.hidden + i, gated(gate, up));
                }
        });
    }

    void multiply_down(const Matrix& w, int expert, int panel) {
        float* target = seats_.answers.data() + size_t(seats_.first[expert]) * model_.width;
        panel_product<1>(w, panel, rows_of(w, expert), count_of(expert), Step::copy_to(target, model_.width, panel));
    }

    void add_up() {
        step_.each_row(step_.rows(), [&](int row) {
            float* x = step_.scratch_.x.data() + size_t(row) * model_.width;
            const size_t at = size_t(row) * model_.n_chosen;
            for (int d = 0; d < model_.width; d += LANES) {
                F sum = F{};
                for (int i = 0; i < model_.n_chosen; ++i)
                    sum += load(seats_.answers.data() + size_t(seats_.seat[at + i]) * model_.width + d) * seats_.share[at + i];
                store(x + d, load(x + d) + sum);
            }
        });
    }

    Step& step_;
    const Model& model_;
    const Layer& layer_;
    Seats& seats_;
};

}  // namespace genwerk
