/* wide.h - products of many columns, included after product.h by the file of an instruction set
 * with few registers: blocks are unpacked once for all columns instead of once for every AT_ONCE of
 * them. The order of operations on each number is the same.
 */
enum {
    RUN = 16,  /* blocks unpacked at a time, so few that they stay in the first cache */
    TILES = 8, /* that share them */
    STEPS = MOST_COLUMNS / AT_ONCE, /* in a tile */
};

typedef struct {
    ivec v[RUN][PARTS][8];
    block_scales by[RUN][PARTS];
} unpacked;

/* n blocks, RUN or fewer, from super-block p on; returns the one after them. */
INLINE const unsigned char *unpack(const matrix_type type, const unsigned char *p, int n,
                                   unpacked *to) {
    for (int at = 0; at < n; at += SUPER) {
        const int n_blocks = type > Q8_0 || n - at >= SUPER ? SUPER : n - at;
        fetch_scales(type, p);
        for (int part = 0; part < PARTS; part++) {
            const super_block s = super_block_at(type, p, n_blocks, part);
            for (int b = 0; b < n_blocks; b++)
                to->by[at + b][part] = load_block(type, s, b, part, to->v[at + b][part]);
        }
        p += scale_bytes(type, n_blocks) + (size_t)n_blocks * number_bytes(type);
    }
    return p;
}

/* sums += n_blocks blocks times columns first .. first + n - 1 of a tile. */
INLINE void add_run(const matrix_type type, const unpacked *r, int n_blocks, const char *tile,
                    int width, int first, const int n, vec sums[PARTS][AT_ONCE]) {
    for (int part = 0; part < PARTS; part++) {
        vec sum[AT_ONCE];
        for (int c = 0; c < n; c++) sum[c] = sums[part][c];
        for (int b = 0; b < n_blocks; b++)
            add_columns(type, r->v[b][part], r->by[b][part], column_block_at(tile, width, first, b),
                        n, sum);
        for (int c = 0; c < n; c++) sums[part][c] = sum[c];
    }
}

/* The same, of all of a tile. */
INLINE void add_tile(const matrix_type type, const unpacked *r, int n_blocks, const char *tile,
                     int width, vec sums[STEPS][PARTS][AT_ONCE]) {
    for (int first = 0, i = 0; first < width; first += AT_ONCE, i++) switch (width - first) {
        case 1: add_run(type, r, n_blocks, tile, width, first, 1, sums[i]); break;
        case 2: add_run(type, r, n_blocks, tile, width, first, 2, sums[i]); break;
        case 3: add_run(type, r, n_blocks, tile, width, first, 3, sums[i]); break;
        default: add_run(type, r, n_blocks, tile, width, first, AT_ONCE, sums[i]);
        }
}

/* A group times the first tiles of n_columns columns, TILES or all of them; returns how many
 * columns these have. */
INLINE int multiply_tiles(const matrix_type type, const packed_matrix *m, int g, const char *tiles,
                          int n_columns, float *y, size_t stride) {
    const unsigned char *p = m->groups + (size_t)g * m->group_bytes;
    const size_t column = column_bytes((int64_t)m->n_blocks * BLOCK);
    const int n_rows = m->n_rows - g * GROUP < GROUP ? m->n_rows - g * GROUP : GROUP;
    vec sums[TILES][STEPS][PARTS][AT_ONCE];
    unpacked room;
    int end = 0;
    memset(sums, 0, sizeof sums);
    for (int at = 0; at < m->n_blocks; at += RUN) {
        const int n_blocks = m->n_blocks - at < RUN ? m->n_blocks - at : RUN;
        p = unpack(type, p, n_blocks, &room);
        end = 0;
        for (int t = 0, width; t < TILES && end < n_columns; t++, end += width) {
            width = tile_width(n_columns - end);
            add_tile(type, &room, n_blocks,
                     tiles + (size_t)end * column + (size_t)(at * width) * COLUMN_BLOCK, width,
                     sums[t]);
        }
    }
    for (int t = 0, c = 0, width; c < end; t++, c += width) {
        float out[MOST_COLUMNS][GROUP];
        width = tile_width(n_columns - c);
        for (int i = 0; i < STEPS; i++)
            for (int part = 0; part < PARTS; part++)
                store_columns(sums[t][i][part], AT_ONCE, part * LANES, out + i * AT_ONCE);
        for (int i = 0; i < width; i++) copy_rows(y + (size_t)(c + i) * stride, out[i], n_rows);
    }
    return end;
}

static void wide_product(const packed_matrix *m, int first, int last, const void *tiles,
                         int n_columns, float *y, size_t stride) {
    if (n_columns <= MOST_COLUMNS) {
        matrix_product(m, first, last, tiles, n_columns, y, stride);
        return;
    }
    const size_t column = column_bytes((int64_t)m->n_blocks * BLOCK);
    for (int g = first; g < last; g++)
        for (int c = 0; c < n_columns;) {
            const char *from = (const char *)tiles + (size_t)c * column;
            float *to = y + (size_t)c * stride + (size_t)g * GROUP;
            switch (m->type) {
#define MULTIPLY_TILES(type) c += multiply_tiles(type, m, g, from, n_columns - c, to, stride)
            case Q4_0: MULTIPLY_TILES(Q4_0); break;
            case Q8_0: MULTIPLY_TILES(Q8_0); break;
            case Q4_K: MULTIPLY_TILES(Q4_K); break;
            case Q5_K: MULTIPLY_TILES(Q5_K); break;
            default: MULTIPLY_TILES(Q6_K);
            }
        }
}
