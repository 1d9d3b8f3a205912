/* pairs.h - products of numbers in pairs of 16 bits, for instruction sets that multiply so,
 * included before product.h. Who includes it defines, beside ivec and its functions: bytes_flipped
 * (each byte with its highest bit the other way), bytes_size, bytes_signed (x with the sign of by,
 * 0 where that is 0), pairs_of_bytes (unsigned bytes times signed ones, neighbours added as 16
 * bits), pairs_add, and pairs_sum (neighbours added as 32 bits).
 */

/* start + the products of n vectors of numbers, none above most, with 4 n inputs; for numbers of 8
 * bits start is not needed, as they are made signed. As many pairs are added before they are
 * widened as cannot overflow. */
INLINE ivec dot(const ivec *v, const int8_t *q, const int n, const int most, ivec start) {
    const int few = most == 15 ? 8 : most == 31 ? 4 : most == 63 ? 2 : 1;
    ivec sum = most == 255 ? ivec_all(0) : start;
    for (int j = 0; j < n; j += few) {
        ivec pairs = ivec_all(0);
        for (int i = j; i < j + few && i < n; i++) {
            int32_t four;
            memcpy(&four, q + 4 * i, sizeof four);
            ivec a = ivec_all(four), w = v[i];
            if (most == 255) {
                ivec is = bytes_flipped(w);
                w = bytes_size(is);
                a = bytes_signed(a, is);
            }
            ivec two = pairs_of_bytes(w, a);
            pairs = i == j ? two : pairs_add(pairs, two);
        }
        sum = ivec_add(sum, pairs_sum(pairs));
    }
    return sum;
}
