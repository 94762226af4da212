/*
 * For the shims that are packed (scripts/prebuild), before all sources: glibc 2.32 and 2.34 gave these functions new versions when
 * they moved into libc itself, and nothing else. The old ones are asked for, so that a shim built on a new system also
 * loads on one as old as Node itself bears, glibc 2.28. Node brings the library that they were in before.
 */
#if defined(__x86_64__)
#define AS(name, old, x64, arm64) __asm__(".symver " #name "," #old "@GLIBC_" x64)
#elif defined(__aarch64__)
#define AS(name, old, x64, arm64) __asm__(".symver " #name "," #old "@GLIBC_" arm64)
#else
#error "shims are packed for x64 and arm64 alone"
#endif

#define SINCE(name, x64, arm64) AS(name, name, x64, arm64)

SINCE(pthread_attr_setstacksize, "2.2.5", "2.17");
SINCE(pthread_create, "2.2.5", "2.17");
SINCE(pthread_join, "2.2.5", "2.17");
SINCE(pthread_once, "2.2.5", "2.17");
SINCE(pthread_setname_np, "2.12", "2.17");
SINCE(pthread_sigmask, "2.2.5", "2.17");

/* Headers from glibc 2.38 on call these by names of their own, which read binary numbers as well. Nothing here holds any. */
AS(__isoc23_strtol, strtol, "2.2.5", "2.17");
AS(__isoc23_sscanf, sscanf, "2.2.5", "2.17");
