/* test_attention.c - attention through its graph operators: every kernel table of this processor,
 * every width of pass and number of threads gives the same bits, and these are near what double
 * precision gives. Rings wrap, windows end inside pages, head sizes fill no vector. With an
 * argument only the kernels are compared, for emulated processors, which take long for the rest. */
#include "attention.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "voxtral.h"

enum { LAYERS = 2, MAX_POSITIONS = 400, WIDEST = 128 };

typedef struct {
    int n_heads, n_kv_heads, head_dim, window;
    enum ggml_type type;
    int64_t start;
} shape;

static float *q, *k, *v; /* [MAX_POSITIONS][heads * head_dim] */

static void random_rows(float *x, size_t n, float gain) {
    static uint32_t seed = 1;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = gain * ((float)(seed >> 8) / (float)(1 << 23) - 1);
    }
}

/* Memory that nobody wrote holds NaN: reading it must not show. */
static void poison(kv_ring *kv, int n) {
    int64_t unit = 2 * (int64_t)kv->n_layers * kv->n_heads * KV_PAGE * kv->head_dim;
    for (int64_t p = kv->end; p < kv->end + n; p++) {
        kv_page **page = &kv->pages[p / KV_PAGE % kv->n_pages];
        if (*page) continue;
        CHECK(kv_reserve(kv, (int)(p - kv->end) + 1) == 0);
        memset((*page)->rows, 0xff, (size_t)unit * kv->element);
    }
    CHECK(kv_reserve(kv, n) == 0);
}

static void op_negate(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const float *x = dst->src[0]->data;
    float *y = dst->data;
    (void)user;
    for (int64_t i = ith; i < ggml_nelements(dst); i += nth) y[i] = -x[i];
}

/* All positions through both layers in passes of width, the first pass of first: out [n][heads *
 * head_dim] of the second layer. Both layers get the same rows; the first gets them negated, so
 * that a mixed up layer shows. In front of them and behind them in each pass are beside[0] and
 * beside[1] positions of other rings, which attend to the same rows. */
static void run(const shape *s, int n, int first, int width, const int *beside, int n_threads,
                const kernels *table, float *out) {
    enum { N_RINGS = 3, OURS = 1 };
    transformer_params p = {.n_layers = LAYERS,
                            .n_heads = s->n_heads,
                            .n_kv_heads = s->n_kv_heads,
                            .head_dim = s->head_dim,
                            .window = s->window,
                            .rope_theta = 1e6f};
    int q_dim = s->n_heads * s->head_dim, kv_dim = s->n_kv_heads * s->head_dim;
    compute c;
    attention a;
    kv_ring kv[N_RINGS];
#if defined(__wasm__)
    n_threads = 1; /* none can be started */
#endif
    CHECK(compute_init(&c, n_threads, table, NULL) == VOX_OK);
    CHECK(attention_init(&a, &p, s->type, WIDEST, c.kernels) == VOX_OK);
    for (int i = 0; i < N_RINGS; i++) {
        CHECK(kv_init(&kv[i], LAYERS, s->n_kv_heads, s->head_dim, s->window, WIDEST,
                      ggml_type_size(s->type)) == 0);
        kv_reset(&kv[i], i == OURS ? s->start : 5 * i);
    }
    attention_layer layers[LAYERS] = {{.a = &a, .layer = 0}, {.a = &a, .layer = 1}};
    graph g;
    CHECK(graph_begin(&g, &c, 32, WIDEST) == VOX_OK);
    struct ggml_tensor *in[3] = {graph_input(&g, GGML_TYPE_F32, q_dim, WIDEST),
                                 graph_input(&g, GGML_TYPE_F32, kv_dim, WIDEST),
                                 graph_input(&g, GGML_TYPE_F32, kv_dim, WIDEST)};
    struct ggml_tensor *other =
        attention_build(&g, &layers[0], operate(&g, op_negate, NULL, q_dim, in[0], NULL), in[1],
                        operate(&g, op_negate, NULL, kv_dim, in[2], NULL));
    graph_output(other);
    struct ggml_tensor *y = attention_build(&g, &layers[1], in[0], in[1], in[2]);
    graph_output(y);
    CHECK(graph_end(&g) == VOX_OK);
    for (int done = 0, w; done < n; done += w) {
        w = done == 0 ? first : width;
        if (w > n - done) w = n - done;
        if (w > WIDEST - beside[0] - beside[1]) w = WIDEST - beside[0] - beside[1];
        int ns[N_RINGS] = {beside[0], w, beside[1]}, total = 0;
        CHECK(graph_set_width(&g, beside[0] + w + beside[1]) == VOX_OK);
        attention_begin(&a);
        for (int i = 0; i < N_RINGS; total += ns[i], i++) {
            if (ns[i] == 0) continue;
            int from = i == OURS ? done : 0;
            memcpy(column(in[0], total), q + from * q_dim, (size_t)(ns[i] * q_dim) * sizeof *q);
            memcpy(column(in[1], total), k + from * kv_dim, (size_t)(ns[i] * kv_dim) * sizeof *k);
            memcpy(column(in[2], total), v + from * kv_dim, (size_t)(ns[i] * kv_dim) * sizeof *v);
            poison(&kv[i], ns[i]);
            attention_add(&a, &kv[i], ns[i]);
        }
        graph_run(&g);
        memcpy(out + done * q_dim, column(y, beside[0]), (size_t)(w * q_dim) * sizeof *out);
        for (int i = 0; i < N_RINGS; i++) kv_commit(&kv[i], ns[i]);
    }
    graph_free(&g);
    for (int i = 0; i < N_RINGS; i++) kv_free(&kv[i]);
    attention_free(&a);
    compute_free(&c);
}

static float stored(enum ggml_type type, float x) {
    return type == GGML_TYPE_F16 ? ggml_fp16_to_fp32(ggml_fp32_to_fp16(x)) : x;
}

/* Pair j of a head, turned as the core turns it: rounding to halves must round the same floats. */
static void turn(const shape *s, const float *x, int64_t position, int j, float *y) {
    /* Far out only the turn of one position is rounded; its multiples are exact. */
    turns step = maths_turn(maths_power(1e6, -2.0 * j / s->head_dim));
    double angle = 2 * 3.14159265358979323846 * ldexp((double)((turns)position * step), -64);
    CHECK(position > 1 << 20 ||
          fabs(cos(angle) - cos((double)position * pow(1e6, -2.0 * j / s->head_dim))) < 1e-8);
    float cosine = (float)cos(angle), sine = (float)sin(angle);
    y[0] = fmaf(x[2 * j], cosine, -(x[2 * j + 1] * sine));
    y[1] = fmaf(x[2 * j + 1], cosine, x[2 * j] * sine);
}

static void check_against_doubles(const shape *s, int n, const float *out) {
    int dim = s->head_dim, q_dim = s->n_heads * dim, kv_dim = s->n_kv_heads * dim;
    float *turned_q = malloc((size_t)(n * q_dim) * sizeof *turned_q);
    float *turned_k = malloc((size_t)(n * kv_dim) * sizeof *turned_k);
    double *weight = malloc((size_t)n * sizeof *weight), worst = 0;
    CHECK(turned_q && turned_k && weight);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < dim / 2; j++) {
            for (int h = 0; h < s->n_heads; h++)
                turn(s, q + i * q_dim + h * dim, s->start + i, j,
                     turned_q + i * q_dim + h * dim + 2 * j);
            for (int h = 0; h < s->n_kv_heads; h++)
                turn(s, k + i * kv_dim + h * dim, s->start + i, j,
                     turned_k + i * kv_dim + h * dim + 2 * j);
        }
    for (int i = 0; i < n; i++)
        for (int h = 0; h < s->n_heads; h++) {
            int group = s->n_heads / s->n_kv_heads, oldest = i - s->window + 1;
            double max = -INFINITY, sum = 0;
            if (oldest < 0) oldest = 0;
            for (int t = oldest; t <= i; t++) {
                double score = 0;
                for (int d = 0; d < dim; d++)
                    score += (double)turned_q[i * q_dim + h * dim + d] *
                             stored(s->type, turned_k[t * kv_dim + h / group * dim + d]);
                weight[t] = score / sqrt(dim);
                if (weight[t] > max) max = weight[t];
            }
            for (int t = oldest; t <= i; t++) sum += weight[t] = exp(weight[t] - max);
            for (int d = 0; d < dim; d++) {
                double mixed = 0;
                for (int t = oldest; t <= i; t++)
                    mixed += weight[t] * stored(s->type, v[t * kv_dim + h / group * dim + d]);
                double error = fabs(mixed / sum - out[i * q_dim + h * dim + d]);
                if (!(error <= worst)) worst = error;
            }
        }
    /* Values reach 1; float sums of 128 products and 200 weights lose a few times 2^-24. */
    if (!(worst < 2e-6))
        fprintf(stderr, "head_dim %d, window %d: off by %g\n", dim, s->window, worst);
    CHECK(worst < 2e-6);
    free(turned_q);
    free(turned_k);
    free(weight);
}

static void test_shape(const shape *s, int n) {
    size_t q_dim = (size_t)(s->n_heads * s->head_dim),
           kv_dim = (size_t)(s->n_kv_heads * s->head_dim);
    size_t bytes = (size_t)n * q_dim * sizeof(float);
    float *expected = malloc(bytes), *out = malloc(bytes);
    CHECK(expected && out);
    random_rows(q, (size_t)n * q_dim, 2);
    random_rows(k, (size_t)n * kv_dim, 2);
    random_rows(v, (size_t)n * kv_dim, 1);
    static const int besides[][2] = {{0, 0}, {1, 0}, {0, 3}, {7, 9}};
    run(s, n, 1, 1, besides[0], 1, kernels_at(0), expected);
    check_against_doubles(s, n, expected);
    static const int widths[] = {1,  2,  3,  4,  5,  6,  7,  8,   9,     10,
                                 11, 12, 13, 14, 15, 16, 64, 100, WIDEST};
    for (int i = 0; kernels_at(i); i++)
        /* Every width for vectors; the portable code has no cases of its own. */
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w += i ? 1 : 6) {
            memset(out, 0, bytes);
            run(s, n, 1 + (int)w * 5, widths[w], besides[(w + (size_t)i) % 4],
                w % 5 ? 1 : 1 + (int)w % 3, kernels_at(i), out);
            if (memcmp(out, expected, bytes) != 0)
                fprintf(stderr, "%s: head_dim %d, window %d, width %d\n", kernels_at(i)->name,
                        s->head_dim, s->window, widths[w]);
            CHECK(memcmp(out, expected, bytes) == 0);
        }
    free(expected);
    free(out);
}

/* Two pages, seen by n queries from random keys on and up to others: every table leaves the same.
 */
static void test_pages(int dim, int is_half, int n) {
    enum { MOST = 9, MAX_DIM = 130, SIZE = ATTEND_PAGE * MAX_DIM };
    static float rows[4][SIZE], queries[MOST][MAX_DIM], expected[MOST][MAX_DIM], out[MOST][MAX_DIM];
    static ggml_fp16_t half[4][SIZE];
    attend_query first[MOST], seen[MOST];
    for (int i = 0; i < 4; i++) {
        random_rows(rows[i], SIZE, 2);
        for (int k = 0; k < SIZE; k++) half[i][k] = ggml_fp32_to_fp16(rows[i][k]);
    }
    const void *at[4];
    for (int i = 0; i < 4; i++) at[i] = is_half ? (const void *)half[i] : rows[i];
    random_rows(queries[0], MOST * MAX_DIM, 2);
    for (int t = 0; kernels_at(t); t++) {
        memset(out, 0, sizeof out);
        for (int i = 0; i < n; i++)
            seen[i] = (attend_query){.q = queries[i], .out = out[i], .max = -FLT_MAX};
        for (int p = 0; p < 2; p++) {
            attend_page page = {at[p], at[2 + p], at[1], at[3], is_half, dim, 0.3f};
            for (int i = 0; i < n; i++) { /* some see nothing, some all of a page */
                int one = (int)fabsf(queries[i][p] * 50) % 65,
                    other = i == 3 ? one : (int)fabsf(queries[i][2 + p] * 50) % 65;
                seen[i].first = i == 1 ? 0 : one < other ? one : other;
                seen[i].last = i == 1 ? ATTEND_PAGE : one < other ? other : one;
            }
            kernels_at(t)->attend(&page, seen, n);
        }
        for (int i = 0; i < MOST * MAX_DIM; i++) (&out[0][0])[i] += 0.0f; /* either sign of zero */
        if (t == 0) {
            memcpy(expected, out, sizeof out);
            memcpy(first, seen, sizeof seen);
        }
        CHECK(memcmp(out, expected, sizeof out) == 0);
        for (int i = 0; i < n; i++)
            CHECK(seen[i].max == first[i].max &&
                  memcmp(seen[i].sum, first[i].sum, sizeof first[i].sum) == 0);
    }
}

/* One page whose scores are x and whose values are the unit matrix gives exp(x) itself. */
static void test_exp(int n_rounds) {
    enum { DIM = ATTEND_PAGE };
    static float keys[DIM][ATTEND_PAGE], values[ATTEND_PAGE][DIM];
    double worst = 0;
    for (int i = 0; i < DIM; i++) values[i][i] = 1;
    for (int round = 0; round < n_rounds; round++) {
        float *x = keys[0], one[DIM] = {1}, expected[DIM] = {0};
        random_rows(x, ATTEND_PAGE, round % 2 ? 45 : 1);
        for (int i = 1; i < ATTEND_PAGE; i++) x[i] -= round % 2 ? 45 : 1;
        x[0] = 0;
        for (int t = 0; kernels_at(t); t++) {
            float out[DIM] = {0};
            attend_query query = {.q = one, .out = out, .max = -FLT_MAX, .last = ATTEND_PAGE};
            attend_page page = {keys, values, keys, values, 0, DIM, 1};
            kernels_at(t)->attend(&page, &query, 1);
            if (t == 0) memcpy(expected, out, sizeof out);
            CHECK(memcmp(expected, out, sizeof out) == 0);
        }
        CHECK(expected[0] == 1);
        for (int i = 0; i < ATTEND_PAGE; i++) {
            double exact = exp((double)x[i]);
            CHECK(x[i] >= EXP_MIN || expected[i] == 0);
            if (x[i] < EXP_MIN) continue;
            double unit = ldexp(1, ilogb(exact) - FLT_MANT_DIG + 1);
            worst = fmax(worst, fabs(expected[i] - exact) / unit);
        }
    }
    if (worst > 1.5) fprintf(stderr, "exp is off by %g units in the last place\n", worst);
    CHECK(worst <= 1.5);
}

int main(int argc, char **argv) {
    (void)argv;
    for (int dim = 2; dim <= 130; dim += dim < 20 ? 5 : 27)
        for (int n = 1; n <= 9; n++)
            for (int is_half = 0; is_half < 2; is_half++) test_pages(dim, is_half, n);
    test_exp(argc > 1 ? 400 : 1500);
    if (argc > 1) return 0;
    static const shape shapes[] = {
        {2, 1, 2, 1, GGML_TYPE_F16, 0},
        {2, 2, 16, 3, GGML_TYPE_F32, 61},
        {4, 4, 32, 24, GGML_TYPE_F32, 5},
        {4, 2, 32, 56, GGML_TYPE_F16, 0},
        {8, 2, 64, 63, GGML_TYPE_F16, (int64_t)1 << 40},
        {2, 2, 64, 64, GGML_TYPE_F16, 0},
        {4, 1, 128, 65, GGML_TYPE_F16, 1000},
        {3, 1, 86, 200, GGML_TYPE_F32, 63},
        {6, 2, 50, 200, GGML_TYPE_F16, 0},
        {2, 1, 18, 1000, GGML_TYPE_F32, 0},
    };
    q = malloc(MAX_POSITIONS * 1024 * sizeof *q);
    k = malloc(MAX_POSITIONS * 1024 * sizeof *k);
    v = malloc(MAX_POSITIONS * 1024 * sizeof *v);
    CHECK(q && k && v);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        test_shape(&shapes[i], shapes[i].window < 100 ? 250 : MAX_POSITIONS);
    free(q);
    free(k);
    free(v);
    return 0;
}
