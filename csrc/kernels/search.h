/* search.h - the search for scales, included by the file of each instruction set.
 *
 * That file defines vec (LANES floats, LANES a divisor of SUPER) with the functions vec_* and the
 * name FIT. A lane holds a set of numbers that share a scale. A scale is tried by what it makes of
 * its set: numbers q, each the nearest in a range, whose sums of q, q^2 and q x tell which scale
 * suits them best and what error that leaves. Scales that share a d are then moved by single steps,
 * and d to what suits them, as long as the error of the whole block falls.
 *
 * How many scales are tried, and how far apart, is where more of them gained less than a
 * thousandth.
 */
#include <float.h>
#include <ggml.h>
#include <math.h>
#include <string.h>

#include "matrix.h"

#define ROUND 0x1.8p23f   /* added and taken away again: the nearest integer, of two the even one */
#define SMALLEST 0x1p-60f /* scales below it are nought: no half is as small */

enum {
    HALF = BLOCK / 2,   /* numbers in a set of q6_k */
    SETS_6 = 2 * SUPER, /* of them in a block */
    ROUNDS = 3,         /* of moving a block's scales */
    NEAR = 2,           /* steps that those of q4_k and q5_k move in one, at most */
    TRIED_6 = 16,
    TRIED_K = 9,
    OFFSETS_K = 3,
};
/* Of q6_k: what the largest value of a set becomes, with the other sign. More than 32 clips it. */
static const float FIRST_6 = 25, STEP_6 = 0.5f;
/* Of q4_k: steps from the lowest value to the highest one; parts of one that nought is moved by. */
static const float FIRST_K = 12.5f, STEP_K = 0.4f, OFFSET_K = 0.4f;

typedef struct {
    vec x[BLOCK];
    int n; /* BLOCK or HALF */
} set;

/* Over the numbers of a set. */
typedef struct {
    vec q, qq, qx;
} sums;

/* LANES sets that lie one after the other. */
INLINE void load_sets(set *s, const float *x, const int n) {
    float t[BLOCK][LANES];
    for (int l = 0; l < LANES; l++)
        for (int i = 0; i < n; i++) t[i][l] = x[l * n + i];
    for (int i = 0; i < n; i++) s->x[i] = vec_load(t[i]);
    s->n = n;
}

INLINE vec nearest(vec x, float least, float most) {
    x = vec_min(vec_max(x, vec_all(least)), vec_all(most));
    return vec_sub(vec_add(x, vec_all(ROUND)), vec_all(ROUND));
}

/* 1 / a; 0 where there is no scale. */
INLINE vec inverse(vec a) {
    vec size = vec_max(a, vec_sub(vec_all(0), a));
    return vec_if_less(vec_all(SMALLEST), size, vec_div(vec_all(1), a), vec_all(0));
}

/* The number of value i, if q is worth a q - b: per_a is 1 / a, and nought b / a. */
INLINE vec number(const set *s, int i, vec per_a, vec nought, float least, float most) {
    return nearest(vec_add(vec_mul(s->x[i], per_a), nought), least, most);
}

INLINE sums sum_up(const set *s, vec a, vec b, float least, float most) {
    vec per_a = inverse(a), nought = vec_mul(b, per_a);
    sums to = {vec_all(0), vec_all(0), vec_all(0)};
    for (int i = 0; i < s->n; i++) {
        vec q = number(s, i, per_a, nought, least, most);
        to.q = vec_add(to.q, q);
        to.qq = vec_add(to.qq, vec_mul(q, q));
        to.qx = vec_add(to.qx, vec_mul(q, s->x[i]));
    }
    return to;
}

/* The sum of (x - (a q - b))^2. */
INLINE vec error_of(const set *s, vec a, vec b, float least, float most) {
    vec per_a = inverse(a), nought = vec_mul(b, per_a), error = vec_all(0);
    for (int i = 0; i < s->n; i++) {
        vec q = number(s, i, per_a, nought, least, most);
        vec off = vec_sub(s->x[i], vec_sub(vec_mul(a, q), b));
        error = vec_add(error, vec_mul(off, off));
    }
    return error;
}

INLINE vec sum_of(const set *s) {
    vec sum = vec_all(0);
    for (int i = 0; i < s->n; i++) sum = vec_add(sum, s->x[i]);
    return sum;
}

static float as_half(float x) {
    return ggml_fp16_to_fp32(ggml_fp32_to_fp16(x));
}

static void put_half(unsigned char *to, float x) {
    ggml_fp16_t half = ggml_fp32_to_fp16(x);
    memcpy(to, &half, sizeof half);
}

/* ---- q6_k: a number q from -32 to 31 is worth a q ------------------------------
 */

/* Takes the scale that suits the numbers which a makes, if its error, the sum of x^2 less `gain`,
 * is the least until now. */
INLINE void try_scale(const set *s, vec a, vec *best, vec *gain) {
    sums t = sum_up(s, a, vec_all(0), -32, 31);
    vec suits = vec_if_less(vec_all(0), t.qq, vec_div(t.qx, t.qq), vec_all(0));
    vec by = vec_mul(suits, t.qx);
    *best = vec_if_less(*gain, by, suits, *best);
    *gain = vec_max(*gain, by);
}

INLINE vec find_scale(const set *s) {
    vec low = vec_all(0), high = low, best = low, gain = low;
    for (int i = 0; i < s->n; i++) {
        low = vec_min(low, s->x[i]);
        high = vec_max(high, s->x[i]);
    }
    vec largest = vec_if_less(high, vec_sub(vec_all(0), low), low, high);
    for (int i = 0; i < TRIED_6; i++)
        try_scale(s, vec_div(largest, vec_all(-(FIRST_6 + STEP_6 * (float)i))), &best, &gain);
    try_scale(s, best, &best, &gain);
    return best;
}

/* A block's scales, as numbers of d. */
typedef struct {
    float d, scale[SETS_6];
} scales_6;

enum { PARTS_6 = SETS_6 / LANES };

/* Moves each scale by a step, if that is better; the error of all. */
static float move_6(const set s[PARTS_6], scales_6 *k) {
    float error[SETS_6], all = 0;
    for (int p = 0; p < PARTS_6; p++) {
        vec from = vec_load(k->scale + p * LANES), best = from, least = vec_all(FLT_MAX);
        for (int o = -1; o <= 1; o++) {
            vec by = nearest(vec_add(from, vec_all((float)o)), -128, 127);
            vec e = error_of(&s[p], vec_mul(vec_all(k->d), by), vec_all(0), -32, 31);
            best = vec_if_less(e, least, by, best);
            least = vec_min(least, e);
        }
        vec_store(k->scale + p * LANES, best);
        vec_store(error + p * LANES, least);
    }
    for (int i = 0; i < SETS_6; i++) all += error[i];
    return all;
}

/* d becomes what suits the numbers that it makes. */
static void refit_6(const set s[PARTS_6], scales_6 *k) {
    double by = 0, of = 0;
    for (int p = 0; p < PARTS_6; p++) {
        float qq[LANES], qx[LANES];
        vec a = vec_mul(vec_all(k->d), vec_load(k->scale + p * LANES));
        sums t = sum_up(&s[p], a, vec_all(0), -32, 31);
        vec_store(qq, t.qq);
        vec_store(qx, t.qx);
        for (int l = 0; l < LANES; l++) {
            double scale = k->scale[p * LANES + l];
            by += scale * scale * qq[l];
            of += scale * qx[l];
        }
    }
    if (by > 0) k->d = as_half((float)(of / by));
}

static void write_q6_k(const set s[PARTS_6], const scales_6 *k, unsigned char *block) {
    memset(block, 0, 192);
    for (int p = 0; p < PARTS_6; p++) {
        float q[HALF][LANES];
        vec per_a = inverse(vec_mul(vec_all(k->d), vec_load(k->scale + p * LANES)));
        for (int i = 0; i < HALF; i++)
            vec_store(q[i], number(&s[p], i, per_a, vec_all(0), -32, 31));
        for (int l = 0; l < LANES; l++)
            for (int i = 0; i < HALF; i++) {
                int at = (p * LANES + l) * HALF + i, b = at / BLOCK % 4;
                unsigned v = (unsigned)((int)q[i][l] + 32);
                block[at / 128 * 64 + at % 64] |= (unsigned char)((v & 15) << b / 2 * 4);
                block[128 + at / 128 * 32 + at % 32] |= (unsigned char)(v >> 4 << 2 * b);
            }
    }
    for (int i = 0; i < SETS_6; i++) block[192 + i] = (unsigned char)(int)k->scale[i];
    put_half(block + 192 + SETS_6, k->d);
}

static void fit_q6_k(const float *x, unsigned char *block) {
    set s[PARTS_6];
    float a[SETS_6], largest = 0, least = FLT_MAX;
    scales_6 now, kept = {0};
    for (int p = 0; p < PARTS_6; p++) {
        load_sets(&s[p], x + p * LANES * HALF, HALF);
        vec_store(a + p * LANES, find_scale(&s[p]));
    }
    for (int i = 0; i < SETS_6; i++)
        if (fabsf(a[i]) > fabsf(largest)) largest = a[i];
    now.d = as_half(largest / -128);
    for (int p = 0; p < PARTS_6; p++) {
        vec by = vec_mul(vec_load(a + p * LANES), inverse(vec_all(now.d)));
        vec_store(now.scale + p * LANES, nearest(by, -128, 127));
    }
    for (int i = 0; i < ROUNDS; i++) {
        float error = move_6(s, &now);
        if (error >= least) break;
        least = error;
        kept = now;
        refit_6(s, &now);
    }
    write_q6_k(s, &kept, block);
}

/* ---- q4_k, q5_k: a number q from 0 to most is worth a q - b, b not below nought -----------------
 */

enum { PARTS_K = SUPER / LANES };

/* The a and b that suit numbers; their error less the sum of x^2. x: the sum of x. */
INLINE vec solve(sums s, vec x, vec *a, vec *b) {
    const vec n = vec_all(BLOCK), zero = vec_all(0), two = vec_all(2);
    vec det = vec_sub(vec_mul(n, s.qq), vec_mul(s.q, s.q));
    vec both_a = vec_div(vec_sub(vec_mul(n, s.qx), vec_mul(s.q, x)), det);
    vec both_b = vec_div(vec_sub(vec_mul(s.q, s.qx), vec_mul(s.qq, x)), det);
    /* One of them alone, where both cannot be, or one would be below nought. */
    vec alone_a = vec_max(vec_div(s.qx, s.qq), zero);
    vec alone_b = vec_max(vec_div(x, vec_sub(zero, n)), zero);
    vec one_a = vec_if_less(zero, s.qq, alone_a, zero);
    vec one_b = vec_if_less(zero, s.qq, zero, alone_b);
    vec is_both = vec_if_less(zero, both_b, both_a, zero);
    is_both = vec_if_less(zero, det, is_both, zero);
    *a = vec_if_less(zero, is_both, both_a, one_a);
    *b = vec_if_less(zero, is_both, both_b, one_b);
    vec squares = vec_add(vec_mul(vec_mul(*a, *a), s.qq), vec_mul(vec_mul(*b, *b), n));
    vec mixed = vec_sub(vec_mul(*b, x), vec_mul(*a, vec_add(s.qx, vec_mul(*b, s.q))));
    return vec_add(squares, vec_mul(two, mixed));
}

INLINE void try_both(const set *s, vec x, vec a, vec b, float most, vec *best_a, vec *best_b,
                     vec *least) {
    vec suits_a, suits_b, e = solve(sum_up(s, a, b, 0, most), x, &suits_a, &suits_b);
    *best_a = vec_if_less(e, *least, suits_a, *best_a);
    *best_b = vec_if_less(e, *least, suits_b, *best_b);
    *least = vec_min(*least, e);
}

INLINE void find_both(const set *s, vec x, float most, vec *best_a, vec *best_b) {
    vec low = vec_all(0), high = s->x[0], least = vec_all(FLT_MAX);
    for (int i = 0; i < s->n; i++) {
        low = vec_min(low, s->x[i]);
        high = vec_max(high, s->x[i]);
    }
    *best_a = *best_b = vec_all(0);
    for (int i = 0; i < TRIED_K; i++)
        for (int j = 0; j < OFFSETS_K; j++) {
            float n_steps = (FIRST_K + STEP_K * (float)i) * most / 15;
            vec a = vec_div(vec_sub(high, low), vec_all(n_steps));
            vec b = vec_sub(vec_mul(a, vec_all(OFFSET_K * (float)(j - 1))), low);
            try_both(s, x, a, vec_max(b, vec_all(0)), most, best_a, best_b, &least);
        }
    try_both(s, x, *best_a, *best_b, most, best_a, best_b, &least);
}

/* A block's scales and minima, as numbers of d and d_min. */
typedef struct {
    float d, d_min, scale[SUPER], minimum[SUPER];
} scales_k;

/* The sets of a block, their sums of x, and sums of the numbers that its scales make of them. */
typedef struct {
    set s[PARTS_K];
    vec x[PARTS_K];
    sums of[PARTS_K];
} sets_k;

static void number_k(sets_k *s, const scales_k *k, float most) {
    for (int p = 0; p < PARTS_K; p++)
        s->of[p] = sum_up(&s->s[p], vec_mul(vec_all(k->d), vec_load(k->scale + p * LANES)),
                          vec_mul(vec_all(k->d_min), vec_load(k->minimum + p * LANES)), 0, most);
}

/* Moves each scale by up to NEAR steps, with the minimum that suits it, if that is better; the
 * error of all. */
static float move_k(const sets_k *s, scales_k *k, float most) {
    const vec d = vec_all(k->d), d_min = vec_all(k->d_min);
    float error[SUPER], all = 0;
    for (int p = 0; p < PARTS_K; p++) {
        vec from = vec_load(k->scale + p * LANES), best = from, least = vec_all(FLT_MAX);
        vec minimum = vec_load(k->minimum + p * LANES);
        for (int o = -NEAR; o <= NEAR; o++) {
            vec by = nearest(vec_add(from, vec_all((float)o)), 0, 63), a = vec_mul(d, by);
            vec b = vec_mul(vec_sub(vec_mul(a, s->of[p].q), s->x[p]), vec_all(1.0f / BLOCK));
            vec less = nearest(vec_mul(b, inverse(d_min)), 0, 63);
            vec e = error_of(&s->s[p], a, vec_mul(d_min, less), 0, most);
            best = vec_if_less(e, least, by, best);
            minimum = vec_if_less(e, least, less, minimum);
            least = vec_min(least, e);
        }
        vec_store(k->scale + p * LANES, best);
        vec_store(k->minimum + p * LANES, minimum);
        vec_store(error + p * LANES, least);
    }
    for (int i = 0; i < SUPER; i++) all += error[i];
    return all;
}

/* d and d_min become what suits the numbers: x is d times `of` less d_min times `less`. */
static void refit_k(const sets_k *s, scales_k *k) {
    double of_of = 0, of_less = 0, less_less = 0, of_x = 0, less_x = 0;
    for (int p = 0; p < PARTS_K; p++) {
        float q[LANES], qq[LANES], qx[LANES], x[LANES];
        vec_store(q, s->of[p].q);
        vec_store(qq, s->of[p].qq);
        vec_store(qx, s->of[p].qx);
        vec_store(x, s->x[p]);
        for (int l = 0; l < LANES; l++) {
            double scale = k->scale[p * LANES + l], minimum = k->minimum[p * LANES + l];
            of_of += scale * scale * qq[l];
            of_less += scale * minimum * q[l];
            less_less += minimum * minimum * BLOCK;
            of_x += scale * qx[l];
            less_x += minimum * x[l];
        }
    }
    double det = of_of * less_less - of_less * of_less;
    double d = of_x * less_less - of_less * less_x, d_min = of_less * of_x - of_of * less_x;
    if (det > 1e-9 * of_of * less_less && d > 0 && d_min > 0) {
        k->d = as_half((float)(d / det));
        k->d_min = as_half((float)(d_min / det));
    } else if (less_less == 0 && of_of > 0) {
        k->d = as_half((float)(of_x / of_of));
    }
}

static void write_k(const sets_k *s, const scales_k *k, unsigned char *block, int most) {
    unsigned char *scales = block + 4, *fifth = block + 16, *low = block + (most > 15 ? 48 : 16);
    put_half(block, k->d);
    put_half(block + 2, k->d_min);
    memset(scales, 0, (size_t)(low - scales) + SUPER * HALF);
    for (int i = 0; i < SUPER; i++) {
        unsigned scale = (unsigned)k->scale[i], minimum = (unsigned)k->minimum[i];
        if (i < 4) {
            scales[i] |= (unsigned char)scale;
            scales[i + 4] |= (unsigned char)minimum;
        } else {
            scales[i + 4] |= (unsigned char)((scale & 15) | (minimum & 15) << 4);
            scales[i - 4] |= (unsigned char)(scale >> 4 << 6);
            scales[i] |= (unsigned char)(minimum >> 4 << 6);
        }
    }
    for (int p = 0; p < PARTS_K; p++) {
        float q[BLOCK][LANES];
        vec per_a = inverse(vec_mul(vec_all(k->d), vec_load(k->scale + p * LANES)));
        vec b = vec_mul(vec_all(k->d_min), vec_load(k->minimum + p * LANES));
        for (int i = 0; i < BLOCK; i++)
            vec_store(q[i], number(&s->s[p], i, per_a, vec_mul(b, per_a), 0, (float)most));
        for (int l = 0; l < LANES; l++)
            for (int i = 0, k_set = p * LANES + l; i < BLOCK; i++) {
                unsigned v = (unsigned)q[i][l];
                low[k_set / 2 * BLOCK + i] |= (unsigned char)((v & 15) << k_set % 2 * 4);
                if (most > 15) fifth[i] |= (unsigned char)(v >> 4 << k_set);
            }
    }
}

static void fit_k(const float *x, unsigned char *block, int most) {
    sets_k s;
    float a[SUPER], b[SUPER], most_a = 0, most_b = 0, least = FLT_MAX;
    scales_k now, kept = {0};
    for (int p = 0; p < PARTS_K; p++) {
        vec best_a, best_b;
        load_sets(&s.s[p], x + p * LANES * BLOCK, BLOCK);
        s.x[p] = sum_of(&s.s[p]);
        find_both(&s.s[p], s.x[p], (float)most, &best_a, &best_b);
        vec_store(a + p * LANES, best_a);
        vec_store(b + p * LANES, best_b);
    }
    for (int i = 0; i < SUPER; i++) {
        most_a = fmaxf(most_a, a[i]);
        most_b = fmaxf(most_b, b[i]);
    }
    now.d = as_half(most_a / 63);
    now.d_min = as_half(most_b / 63);
    for (int p = 0; p < PARTS_K; p++) {
        vec by = vec_mul(vec_load(a + p * LANES), inverse(vec_all(now.d)));
        vec less = vec_mul(vec_load(b + p * LANES), inverse(vec_all(now.d_min)));
        vec_store(now.scale + p * LANES, nearest(by, 0, 63));
        vec_store(now.minimum + p * LANES, nearest(less, 0, 63));
    }
    for (int i = 0; i < ROUNDS; i++) {
        number_k(&s, &now, (float)most);
        float error = move_k(&s, &now, (float)most);
        if (error >= least) break;
        least = error;
        kept = now;
        number_k(&s, &now, (float)most);
        refit_k(&s, &now);
    }
    write_k(&s, &kept, block, most);
}

void FIT(int type, const float *x, size_t n, unsigned char *blocks) {
    for (size_t i = 0; i < n; i += SUPER * BLOCK, blocks += ggml_type_size((enum ggml_type)type))
        if (type == GGML_TYPE_Q6_K) fit_q6_k(x + i, blocks);
        else fit_k(x + i, blocks, type == GGML_TYPE_Q4_K ? 15 : 31);
}
