/* tiles.h - columns into tiles, included by the file of each instruction set after its
 * quantise_block. */
static void quantise(const float *x, size_t stride, int n_columns, int n_blocks, int first,
                     int last, void *tiles) {
    for (int c = 0, width; c < n_columns; c += width) {
        char *tile = (char *)tiles + (size_t)c * column_bytes((int64_t)n_blocks * BLOCK);
        width = tile_width(n_columns - c);
        for (int i = 0; i < width; i++)
            for (int b = first; b < last; b++)
                quantise_block(x + (size_t)(c + i) * stride + b * BLOCK,
                               column_block_at(tile, width, i, b));
    }
}
