/* web.h - the core as a page's script calls it: numbers and addresses only, no structures of C. The
 * other side is web/voxtral.js.
 */
#ifndef VOXTRAL_WEB_H
#define VOXTRAL_WEB_H

#include <stddef.h>

/* Memory for the file that the next model is made of, which that model will own; NULL when there is
 * not so much. */
void *web_give_file(size_t size);
#if defined(__wasm_atomics__)
/* What a thread is lent for: it runs what the core gives it, and never returns. */
void web_serve_thread(void);
/* Those that have come to serve, and the first one. */
int web_n_threads(void);
#endif

#endif
