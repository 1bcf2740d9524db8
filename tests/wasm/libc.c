// What Rust's std needs, and Debian's libc for WASI does not have.

#define ENOTSUP 58

// The tag of a panic. A newer compiler than the libc's emits it as a symbol that the libc defines.
__asm__(".globl __cpp_exception\n.tagtype __cpp_exception i32\n__cpp_exception:\n");

// There are no threads, so std returns this as an error.
int pthread_create(void *thread, void *attributes, void *start, void *argument) { return ENOTSUP; }

int pthread_attr_init(void *attributes) { return 0; }
int pthread_attr_setstacksize(void *attributes, unsigned long size) { return 0; }
int pthread_attr_destroy(void *attributes) { return 0; }

int pthread_join(void *thread, void *result) { __builtin_trap(); }
int pthread_detach(void *thread) { __builtin_trap(); }
