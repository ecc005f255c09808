// What Python hands over: shapes, and pointers into memory that Python owns (its twin is layout.py, the packing pack.py).
// All counts here are already filled up to whole panels.
#pragma once

#include <cstdint>

extern "C" {

enum Format : int32_t { FLOAT32 = 0, INT8 = 1, INT4 = 2, FLOAT16 = 3, BFLOAT16 = 4 };

// One weight matrix, packed by panels of 32 outputs.
//   FLOAT32  data: float [outputs / 32][inputs][32]
//   INT8     data: uint8 [outputs / 32][depth / 4][32][4], depth: inputs filled up to a multiple of 64; each 64 inputs
//            turned by the Hadamard matrix, divided by 8; the whole number + 128; scale: float [outputs]
//   INT4     data: uint8 [outputs / 32][inputs / 32][640]: 512 bytes of half bytes, then 32 scales and 32 lowest values
//            as float16;  W = lowest + scale * half byte.  Byte (i, output, j), i < 4, holds input 4 i + j below and
//            input 16 + 4 i + j above.
struct Matrix {
    int32_t format, outputs, inputs;
    const void* data;
    const float* scale;  // INT8 only
    const float* bias;  // [outputs], or null
};

// A low-rank update of one matrix: y += b (a x). Both FLOAT32; null data where the matrix is not adapted.
struct Update {
    Matrix a, b;
};

struct Expert {
    Matrix gate_up, down;
};

struct Layer {
    Matrix qkv, out, gate_up, down;                   // the last two are empty where there are experts
    const float *attention_norm, *feed_forward_norm;  // [width]
    const float *query_norm, *key_norm;               // [head], or null
    Matrix router;                                    // FLOAT32; outputs: n_experts padded to 32
    const Expert* experts;                            // [n_experts], or null
    int32_t window;                                   // how many positions a token sees; 0: all
};

struct LayerUpdates {
    Update qkv, out, gate_up, down;
};

// width: d_model padded to 32; head: head_dim padded to 16, head_dim the true size; hidden: d_ff, of one expert where
// there are some, padded to 32; n_chosen: experts of a token. In `gate_up` a panel of gates is followed by its panel of ups.
struct Model {
    int32_t n_layers, n_heads, n_kv_heads, head, head_dim, d_model, width, hidden;
    int32_t sinks;  // first positions that are seen beside the window, at most 32
    int32_t n_experts, n_chosen, normalise_experts;
    float eps;
    const Layer* layers;
    const float* final_norm;
    Matrix unembed;        // outputs: vocab padded to 32
    const Matrix* embed;   // where the input's embedding is another matrix; null: `unembed` serves both
    const float *cos, *sin;  // [positions][head_dim / 2]
};

// The cache is cut into blocks of 32 positions; per layer, block and head:  keys [head][32], values [32][head]; in BFLOAT16
// (attention_tiles.h) keys [head / 2][32][2], values [16][head][2]; in INT8 (attention_bytes.h) keys [head / 4][32][4],
// values [8][head][4], each followed by float [32], the scales.
struct Cache {
    int64_t n_blocks;
    int32_t format;       // FLOAT32, FLOAT16, INT8 or, where there are tiles, BFLOAT16
    void *keys, *values;  // [n_layers][n_blocks][n_kv_heads][32 * head], in INT8 bytes [32 * head + 128]
};

// Tokens of several sequences. Those of sequence s are rows first[s] .. first[s + 1], at positions from start[s] on;
// its blocks are tables[table[s]], tables[table[s] + 1], ...
struct Batch {
    int32_t n_sequences;
    const int32_t *tokens, *first, *start, *table, *tables, *adapter;  // adapter: an index, or -1
    int32_t n_wanted;
    const int32_t* wanted;  // rows whose logits are computed
    float* logits;          // [n_wanted][vocab padded to 32]
};

}  // extern "C"
