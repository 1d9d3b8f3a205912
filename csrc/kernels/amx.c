/* amx.c - the kernels for AMX: products of many columns go through its tiles of 8-bit integers,
 * all else is avx512.h's. Compiled with these options, and run only where the processor has them
 * and the system lets the process use them.
 *
 * One instruction multiplies the numbers of 16 columns with those of a group of rows, a block at a
 * time, into 16 x 16 integers. These are the sums that kernels.h defines, and they go on as floats
 * in the order that it defines, so the bits are those of all other kernels. A group's numbers lie
 * as the instruction wants its second operand, but for their packing: they are unpacked RUN blocks
 * at a time, once for all columns.
 *
 * With VOXTRAL_TILE_MODEL the tile instructions are plain C, so that this file is tested wherever
 * there is AVX-512.
 */
#include "avx512.h"

enum {
    WIDTH = 16, /* columns of a tile; what is left over goes the way of avx512.h */
    RUN = 64,   /* blocks unpacked at a time, so many that they stay in the first cache */
    STEP = 2,   /* blocks whose integers are made while those of the step before become floats */
};

/* What a tile register holds: rows of so many bytes. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_config;

#ifdef VOXTRAL_TILE_MODEL
static _Thread_local tile_config config;
static _Thread_local uint8_t tile_rows[8][16][64];

static void tile_set(const tile_config *c) {
    config = *c;
    memset(tile_rows, 0, sizeof tile_rows);
}
static void tile_end(void) {
    config = (tile_config){0};
}
static void tile_zero(int t) {
    memset(tile_rows[t], 0, sizeof tile_rows[t]);
}
static void tile_load(int t, const void *from, size_t stride) {
    tile_zero(t);
    for (size_t r = 0; r < config.rows[t]; r++)
        memcpy(tile_rows[t][r], (const char *)from + r * stride, config.bytes[t]);
}
static void tile_store(int t, void *to, size_t stride) {
    for (size_t r = 0; r < config.rows[t]; r++)
        memcpy((char *)to + r * stride, tile_rows[t][r], config.bytes[t]);
}
static void tile_multiply(int to, int a, int b) {
    for (int m = 0; m < config.rows[to]; m++)
        for (int n = 0; n < config.bytes[to] / 4; n++) {
            int32_t sum;
            memcpy(&sum, &tile_rows[to][m][4 * n], sizeof sum);
            for (int k = 0; k < config.rows[b]; k++)
                for (int i = 0; i < 4; i++)
                    sum += (int8_t)tile_rows[a][m][4 * k + i] * (int8_t)tile_rows[b][k][4 * n + i];
            memcpy(&tile_rows[to][m][4 * n], &sum, sizeof sum);
        }
}
#else
#define tile_set(config) _tile_loadconfig(config)
#define tile_end() _tile_release()
#define tile_zero(t) _tile_zero(t)
#define tile_load(t, from, stride) _tile_loadd(t, from, stride)
#define tile_store(t, to, stride) _tile_stored(t, to, stride)
#define tile_multiply(to, a, b) _tile_dpbssd(to, a, b)
#endif

/* Blocks of a group. numbers: signed, [8][GROUP][4] each. A weight is number * w - minimum. */
typedef struct {
    _Alignas(64) int8_t numbers[RUN][BLOCK * GROUP];
    _Alignas(64) float w[RUN][GROUP], minimum[RUN][GROUP];
} unpacked;

/* n blocks from super-block p on; the next one. */
INLINE const unsigned char *unpack(const matrix_type type, const unsigned char *p, int n,
                                   unpacked *to) {
    const int has_minimum = type > Q8_0, zero = type == Q4_0 ? 8 : type == Q8_0 ? 128 : 0;
    for (int at = 0; at < n; at += SUPER) {
        int n_blocks = n - at < SUPER ? n - at : SUPER;
        const unsigned char *s = p, *numbers = p + scale_bytes(type, n_blocks);
        vec d = vec_all(0), d_min = d;
        if (has_minimum) {
            d = vec_load_half((const uint16_t *)(const void *)s);
            d_min = vec_load_half((const uint16_t *)(const void *)(s + 2 * GROUP));
            d_min = vec_mul(d_min, vec_all(0.125f));
            s += 4 * GROUP;
        }
        for (int b = at; b < at + n_blocks; b++, s += 2 * GROUP, numbers += number_bytes(type)) {
            ivec v[8];
            for (size_t line = 0; line < number_bytes(type); line += LINE)
                fetch((uintptr_t)numbers + AHEAD + line);
            load_numbers(type, numbers, v);
            for (int j = 0; j < 8; j++)
                _mm512_store_si512(to->numbers[b] + j * VECTOR_BYTES,
                                   _mm512_sub_epi8(v[j], _mm512_set1_epi8((char)zero)));
            if (!has_minimum) d = vec_load_half((const uint16_t *)(const void *)s);
            vec_store(to->w[b], has_minimum ? vec_mul(d, vec_load_u8(s)) : d);
            if (has_minimum) vec_store(to->minimum[b], vec_mul(d_min, vec_load_u8(s + GROUP)));
        }
        p = numbers;
    }
    return p;
}

typedef int32_t sums[STEP][WIDTH][GROUP];

/* The integers of block b of a run, and of the next ones, STEP or as many as are left of n. */
INLINE void make_sums(const unpacked *r, const char *tile, int b, int n, sums to) {
#define MAKE(i, columns, rows)                                                                     \
    if (b + i < n) {                                                                               \
        tile_load(columns, tile + (size_t)((b + i) * WIDTH) * COLUMN_BLOCK, BLOCK);                \
        tile_load(rows, r->numbers[b + i], VECTOR_BYTES);                                          \
        tile_zero(i);                                                                              \
        tile_multiply(i, columns, rows);                                                           \
        tile_store(i, to[i], sizeof to[i][0]);                                                     \
    }
    MAKE(0, 2, 4)
    MAKE(1, 3, 5)
#undef MAKE
}

/* What the tile registers hold: sums 0 and 1, numbers of columns 2 and 3, of rows 4 and 5. */
static void set_tiles(void) {
    tile_config config = {.palette = 1};
    for (int t = 0; t < 6; t++) {
        config.rows[t] = t < 4 ? WIDTH : BLOCK / 4;
        config.bytes[t] = t == 2 || t == 3 ? BLOCK : VECTOR_BYTES;
    }
    tile_set(&config);
}

/* y += n blocks times the columns of a tile; y's rows are those in mask. */
INLINE void multiply_run(const int has_minimum, const unpacked *r, int n, const char *tile,
                         int is_begin, float *y, size_t stride, __mmask16 mask) {
    _Alignas(64) sums made[2];
    vec sum[WIDTH];
#pragma GCC unroll 16
    for (int c = 0; c < WIDTH; c++)
        sum[c] = is_begin ? vec_all(0) : _mm512_maskz_loadu_ps(mask, y + (size_t)c * stride);
    make_sums(r, tile, 0, n, made[0]);
    for (int at = 0; at < n; at += STEP) {
        make_sums(r, tile, at + STEP, n, made[(at / STEP + 1) % 2]);
        for (int b = at; b < at + STEP && b < n; b++) {
            const int32_t(*t)[GROUP] = (const int32_t(*)[GROUP])made[at / STEP % 2][b - at];
            column_block x = column_block_at(tile, WIDTH, 0, b);
            vec w = vec_load(r->w[b]), minimum = vec_load(r->minimum[b]);
#pragma GCC unroll 16
            for (int c = 0; c < WIDTH; c++) {
                vec scale = vec_mul(w, vec_all(x.scale[c]));
                sum[c] = vec_fma(scale, vec_from_int(ivec_load(t[c])), sum[c]);
                if (has_minimum) sum[c] = vec_fma(minimum, vec_all(x.minus[c]), sum[c]);
            }
        }
    }
#pragma GCC unroll 16
    for (int c = 0; c < WIDTH; c++) _mm512_mask_storeu_ps(y + (size_t)c * stride, mask, sum[c]);
}

/* A group times n columns, a multiple of WIDTH. */
INLINE void multiply_tiles(const matrix_type type, const packed_matrix *m, int g, const char *tiles,
                           int n, unpacked *room, float *y, size_t stride) {
    const unsigned char *p = m->groups + (size_t)g * m->group_bytes;
    const int n_rows = m->n_rows - g * GROUP;
    const __mmask16 mask = (__mmask16)(n_rows < GROUP ? (1 << n_rows) - 1 : 0xffff);
    const size_t column = column_bytes((int64_t)m->n_blocks * BLOCK);
    for (int at = 0; at < m->n_blocks; at += RUN) {
        int n_blocks = m->n_blocks - at < RUN ? m->n_blocks - at : RUN;
        p = unpack(type, p, n_blocks, room);
        for (int c = 0; c < n; c += WIDTH)
            multiply_run(type > Q8_0, room, n_blocks,
                         tiles + (size_t)c * column + (size_t)(at * WIDTH) * COLUMN_BLOCK, at == 0,
                         y + (size_t)c * stride + (size_t)g * GROUP, stride, mask);
    }
}

/* The same for q6_k: its blocks have two scales, and as tiles of half a block they would be slower
 * than vectors. */
static void multiply_q6_k(const packed_matrix *m, int g, const char *tiles, int n, float *y,
                          size_t stride) {
    const unsigned char *group = m->groups + (size_t)g * m->group_bytes;
    const int n_rows = m->n_rows - g * GROUP < GROUP ? m->n_rows - g * GROUP : GROUP;
    const size_t column = column_bytes((int64_t)m->n_blocks * BLOCK);
    for (int c = 0; c < n; c += AT_ONCE) {
        _Alignas(64) float out[AT_ONCE][GROUP];
        multiply_group(Q6_K, m, group, tiles + (size_t)(c / WIDTH * WIDTH) * column, WIDTH,
                       c % WIDTH, AT_ONCE, out);
        for (int i = 0; i < AT_ONCE; i++)
            memcpy(y + (size_t)(c + i) * stride + (size_t)g * GROUP, out[i],
                   (size_t)n_rows * sizeof(float));
    }
}

static void tile_product(const packed_matrix *m, int first, int last, const void *tiles,
                         int n_columns, float *y, size_t stride) {
    const int n = n_columns / WIDTH * WIDTH;
    const char *rest = (const char *)tiles + (size_t)n * column_bytes((int64_t)m->n_blocks * BLOCK);
    unpacked room;
    if (n > 0) set_tiles();
    for (int g = first; g < last; g++) {
        if (n > 0) switch (m->type) {
#define MULTIPLY_TILES(type) multiply_tiles(type, m, g, tiles, n, &room, y, stride)
            case Q4_0: MULTIPLY_TILES(Q4_0); break;
            case Q8_0: MULTIPLY_TILES(Q8_0); break;
            case Q4_K: MULTIPLY_TILES(Q4_K); break;
            case Q5_K: MULTIPLY_TILES(Q5_K); break;
            default: multiply_q6_k(m, g, tiles, n, y, stride);
            }
        if (n < n_columns)
            matrix_product(m, g, g + 1, rest, n_columns - n, y + (size_t)n * stride, stride);
    }
    if (n > 0) tile_end();
}

static void tile_quantise(const float *x, size_t stride, int n_columns, int n_blocks, int first,
                          int last, void *tiles) {
    const size_t column = column_bytes((int64_t)n_blocks * BLOCK);
    const int n = n_columns / WIDTH * WIDTH;
    for (int c = 0; c < n; c++)
        for (int b = first; b < last; b++)
            quantise_block(x + (size_t)c * stride + b * BLOCK,
                           column_block_at((char *)tiles + (size_t)(c / WIDTH * WIDTH) * column,
                                           WIDTH, c % WIDTH, b));
    quantise(x + (size_t)n * stride, stride, n_columns - n, n_blocks, first, last,
             (char *)tiles + (size_t)n * column);
}

#ifdef VOXTRAL_TILE_MODEL
const kernels kernels_tile_model = {"amx in plain C", attend,        narrow, tile_quantise,
                                    tile_product,     float_product, LOOPS};
#else
const kernels kernels_amx = {"amx",        attend,        narrow, tile_quantise,
                             tile_product, float_product, LOOPS};
#endif
