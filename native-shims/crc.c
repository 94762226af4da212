/*
 * CRC-32 (IEEE 802.3, reflected, as zlib's), for the checksums that our own nodes send along (src/nbd/wire/checksums.ts).
 *
 * Eight bytes at a time from tables; where the processor can, by folding with carry-less multiplications ("Fast CRC Computation
 * for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009), on four lanes at once where there are such, or with the instructions
 * of ARMv8. Asked once, at run time.
 */
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include "crc.h"

#define POLYNOMIAL 0xedb88320u

static uint32_t table[8][256];
static bool by_instruction;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t by_table(uint32_t crc, const uint8_t *p, size_t length) {
  for (; length >= 8; p += 8, length -= 8) {
    uint32_t a = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
    crc = table[7][a & 255] ^ table[6][a >> 8 & 255] ^ table[5][a >> 16 & 255] ^ table[4][a >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
  }
  for (; length > 0; p += 1, length -= 1) crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
  return crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define FOLD_LEAST 64u
#define WIDE_LEAST 512u

static bool wide;

static bool has_instruction(void) {
  wide = __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f");
  return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

__attribute__((target("pclmul,sse4.1"))) static inline __m128i fold(__m128i x, __m128i by, __m128i next) {
  return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), next);
}

static inline __m128i load(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }

/* A multiple of 16 bytes, at least 64. The constants are x^n mod P for the distances folded over, reflected. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t by_folding(uint32_t crc, const uint8_t *p, size_t length) {
  const __m128i over512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
  const __m128i over128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
  const __m128i over64 = _mm_set_epi64x(0, 0x163cd6124);
  const __m128i reduce = _mm_set_epi64x(0x1f7011641, 0x1db710641);
  const __m128i low = _mm_setr_epi32(~0, 0, ~0, 0);
  __m128i a = _mm_xor_si128(load(p), _mm_cvtsi32_si128((int)crc)), b = load(p + 16), c = load(p + 32), d = load(p + 48), t;

  for (p += 64, length -= 64; length >= 64; p += 64, length -= 64) {
    a = fold(a, over512, load(p));
    b = fold(b, over512, load(p + 16));
    c = fold(c, over512, load(p + 32));
    d = fold(d, over512, load(p + 48));
  }
  a = fold(fold(fold(a, over128, b), over128, c), over128, d);
  for (; length >= 16; p += 16, length -= 16) a = fold(a, over128, load(p));
  a = _mm_xor_si128(_mm_srli_si128(a, 8), _mm_clmulepi64_si128(a, over128, 0x10));
  a = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(a, low), over64, 0x00), _mm_srli_si128(a, 4));
  t = _mm_clmulepi64_si128(_mm_and_si128(a, low), reduce, 0x10);
  t = _mm_clmulepi64_si128(_mm_and_si128(t, low), reduce, 0x00);
  return (uint32_t)_mm_extract_epi32(_mm_xor_si128(a, t), 1);
}

#define WIDE __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.1")))

WIDE static inline __m512i fold_wide(__m512i x, __m512i by, __m512i next) {
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(x, by, 0x00), _mm512_clmulepi64_epi128(x, by, 0x11), next, 0x96);
}

/* As by_folding, at least 256 bytes, four times as much at once. What is left of it is 64 bytes that stand for all before them. */
WIDE static uint32_t by_wide_folding(uint32_t crc, const uint8_t *p, size_t length) {
  const __m512i over2048 = _mm512_set4_epi64(0x1322d1430, 0x11542778a, 0x1322d1430, 0x11542778a);
  const __m512i over512 = _mm512_set4_epi64(0x1c6e41596, 0x154442bd4, 0x1c6e41596, 0x154442bd4);
  __m512i a = _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_inserti32x4(_mm512_setzero_si512(), _mm_cvtsi32_si128((int)crc), 0));
  __m512i b = _mm512_loadu_si512(p + 64), c = _mm512_loadu_si512(p + 128), d = _mm512_loadu_si512(p + 192);
  uint8_t left[64];

  for (p += 256, length -= 256; length >= 256; p += 256, length -= 256) {
    a = fold_wide(a, over2048, _mm512_loadu_si512(p));
    b = fold_wide(b, over2048, _mm512_loadu_si512(p + 64));
    c = fold_wide(c, over2048, _mm512_loadu_si512(p + 128));
    d = fold_wide(d, over2048, _mm512_loadu_si512(p + 192));
  }
  a = fold_wide(fold_wide(fold_wide(a, over512, b), over512, c), over512, d);
  for (; length >= 64; p += 64, length -= 64) a = fold_wide(a, over512, _mm512_loadu_si512(p));
  _mm512_storeu_si512(left, a);
  return by_table(by_folding(0, left, sizeof left), p, length);
}

static uint32_t fast(uint32_t crc, const uint8_t *p, size_t length) {
  size_t whole = length & ~(size_t)15;

  if (wide && length >= WIDE_LEAST) return by_wide_folding(crc, p, length);
  if (length < FOLD_LEAST) return by_table(crc, p, length);
  return by_table(by_folding(crc, p, whole), p + whole, length - whole);
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif

static bool has_instruction(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

static uint32_t fast(uint32_t crc, const uint8_t *p, size_t length) {
  for (; length >= 8; p += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    __asm__(".arch_extension crc\n\tcrc32x %w0, %w0, %x1" : "+r"(crc) : "r"(word));
  }
  for (; length > 0; p += 1, length -= 1) __asm__(".arch_extension crc\n\tcrc32b %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*p));
  return crc;
}

#else

static bool has_instruction(void) { return false; }
static uint32_t fast(uint32_t crc, const uint8_t *p, size_t length) { return by_table(crc, p, length); }

#endif

static void prepare(void) {
  for (uint32_t i = 0; i < 256; i += 1) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; bit += 1) c = c >> 1 ^ (c & 1 ? POLYNOMIAL : 0);
    table[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; i += 1) {
    for (int k = 1; k < 8; k += 1) table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
  }
  by_instruction = has_instruction();
}

uint32_t crc_update(uint32_t crc, const uint8_t *p, size_t length) {
  pthread_once(&once, prepare);
  return ~(by_instruction ? fast(~crc, p, length) : by_table(~crc, p, length));
}

uint32_t crc_by_table(uint32_t crc, const uint8_t *p, size_t length) {
  pthread_once(&once, prepare);
  return ~by_table(~crc, p, length);
}
