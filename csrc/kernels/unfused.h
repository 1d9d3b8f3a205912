/* unfused.h - x * y + z rounded once, for vectors of 4 floats without an instruction for it;
 * included where vec, vec_load and vec_store are defined, by a file that makes vec_fma of it.
 *
 * By way of doubles the product of two floats is exact, and of the sum, rounded to a double and
 * then to a float, only two cases can be wrong, which such a file looks for and has done again
 * number by number: a double halfway between two floats, as it might be rounded itself, and results
 * below the normal numbers, where floats are further apart.
 */
static __attribute__((noinline)) vec fma_exactly(vec x, vec y, vec z) {
    float a[LANES], b[LANES], c[LANES];
    vec_store(a, x);
    vec_store(b, y);
    vec_store(c, z);
    for (int i = 0; i < LANES; i++) c[i] = fused(a[i], b[i], c[i]);
    return vec_load(c);
}
