/* bench_products.c - how fast all matrices of the full-sized decoder pass over 1 to 64 columns:
 * with each kernel table of this processor.
 * Arguments: the number of threads, and the matrices' type, q4_0 (if none is given), q4_k or q6_k.
 * Prints milliseconds per pass, the median of RUNS, and billions of multiply-adds per second. */
#include "check.h"
#include "compute.h"
#include "platform.h"
#include "voxtral.h"

#include <string.h>

enum { LAYERS = 26, PER_LAYER = 7, RUNS = 5, N_INPUTS = 3, N_WIDTHS = 8 };
static const int WIDTHS[N_WIDTHS] = {64, 32, 16, 8, 4, 3, 2, 1}; /* the widest first */
static const int INPUTS[N_INPUTS] = {3072, 4096, 9216};
/* q, k, v, output, gate, up, down: outputs, and which of the inputs they take. */
static const int SHAPES[PER_LAYER][2] = {{4096, 0}, {1024, 0}, {1024, 0}, {3072, 1},
                                         {9216, 0}, {9216, 0}, {3072, 2}};

/* halves: how many scales of 16 bits a block of ggml's has; at: where they lie. */
static const struct {
    const char *name;
    enum ggml_type ggml;
    matrix_type packed;
    size_t halves, at;
} TYPES[] = {{"q4_0", GGML_TYPE_Q4_0, Q4_0, 1, 0},
             {"q4_k", GGML_TYPE_Q4_K, Q4_K, 2, 0},
             {"q6_k", GGML_TYPE_Q6_K, Q6_K, 1, 208}};
static size_t type;

typedef struct {
    struct ggml_tensor weights[LAYERS * PER_LAYER];
    packed_matrix packed[LAYERS * PER_LAYER];
} matrices;

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Random numbers; scales are all 1/16, so that sums stay finite. */
static void fill(struct ggml_tensor *t) {
    static uint32_t seed = 1;
    ggml_fp16_t scale = ggml_fp32_to_fp16(0.0625f);
    unsigned char *p = t->data;
    for (size_t i = 0; i < ggml_nbytes(t); i++) p[i] = (seed = seed * 1664525u + 1013904223u) >> 24;
    for (size_t i = 0; i < ggml_nbytes(t); i += ggml_type_size(t->type))
        for (size_t k = 0; k < TYPES[type].halves; k++)
            memcpy(p + i + TYPES[type].at + k * sizeof scale, &scale, sizeof scale);
}

static void make(matrices *m) {
    for (int i = 0; i < LAYERS * PER_LAYER; i++) {
        const int *shape = SHAPES[i % PER_LAYER];
        struct ggml_tensor *t = &m->weights[i];
        size_t block = ggml_type_size(TYPES[type].ggml),
               row = ggml_row_size(TYPES[type].ggml, INPUTS[shape[1]]),
               all = row * (size_t)shape[0];
        *t = (struct ggml_tensor){.type = TYPES[type].ggml,
                                  .ne = {INPUTS[shape[1]], shape[0], 1, 1},
                                  .nb = {block, row, all, all},
                                  .extra = &m->packed[i]};
        size_t size = matrix_layout(&m->packed[i], TYPES[type].packed, shape[0], t->ne[0]);
        CHECK((t->data = platform_alloc_large(ggml_nbytes(t))) != NULL);
        CHECK((m->packed[i].groups = platform_alloc_large(size)) != NULL);
        fill(t);
        matrix_pack(&m->packed[i], t->data, 0, (shape[0] + GROUP - 1) / GROUP);
    }
}

/* A pass of all products. */
static void build(graph *g, compute *c, matrices *m) {
    CHECK(graph_begin(g, c, 4 * LAYERS * PER_LAYER, WIDTHS[0]) == VOX_OK);
    struct ggml_tensor *x[N_INPUTS];
    for (int i = 0; i < N_INPUTS; i++) x[i] = graph_input(g, GGML_TYPE_F32, INPUTS[i], WIDTHS[0]);
    for (int i = 0; i < LAYERS * PER_LAYER; i++)
        linear(g, &m->weights[i], NULL, x[SHAPES[i % PER_LAYER][1]], NULL);
    CHECK(graph_end(g) == VOX_OK);
    for (int i = 0; i < N_INPUTS; i++)
        for (int64_t j = 0; j < ggml_nelements(x[i]); j++)
            ((float *)x[i]->data)[j] = (float)(j * 7 % 255 - 127) / 64;
}

static void measure(matrices *m, int n_threads, const kernels *table) {
    compute c;
    CHECK(compute_init(&c, n_threads, table, NULL) == VOX_OK);
    graph g;
    build(&g, &c, m);
    double ms[N_WIDTHS], multiplies = 0;
    for (int w = 0; w < N_WIDTHS; w++) {
        double runs[RUNS];
        CHECK(graph_set_width(&g, WIDTHS[w]) == VOX_OK);
        for (int i = 0; i < RUNS; i++) {
            int64_t start = platform_clock_ns();
            graph_run(&g);
            runs[i] = (double)(platform_clock_ns() - start) / 1e6;
        }
        qsort(runs, RUNS, sizeof *runs, by_size);
        ms[w] = runs[RUNS / 2];
    }
    for (int i = 0; i < LAYERS * PER_LAYER; i++)
        multiplies += (double)ggml_nelements(&m->weights[i]);
    printf("%-9s ms", table->name);
    for (int w = N_WIDTHS; w-- > 0;) printf(" %7.0f", ms[w]);
    printf("\n         G/s");
    for (int w = N_WIDTHS; w-- > 0;) printf(" %7.0f", multiplies * WIDTHS[w] / ms[w] / 1e6);
    printf("\n");
    graph_free(&g);
    compute_free(&c);
}

int main(int argc, char **argv) {
    static matrices m;
    int n_threads = argc > 1 ? atoi(argv[1]) : 1;
    const char *name = argc > 2 ? argv[2] : TYPES[0].name;
    while (type < sizeof TYPES / sizeof *TYPES && strcmp(TYPES[type].name, name) != 0) type++;
    CHECK(n_threads > 0 && type < sizeof TYPES / sizeof *TYPES);
    make(&m);
    printf("columns     ");
    for (int w = N_WIDTHS; w-- > 0;) printf(" %7d", WIDTHS[w]);
    printf("\n");
    for (int i = 1; kernels_at(i); i++) measure(&m, n_threads, kernels_at(i));
    return 0;
}
