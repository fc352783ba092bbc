/* What an LD_PRELOAD interposer does at best: the call fails in the process itself, the kernel is not asked.
 * The first calls are let through, as strace(1) is told to: the program and its loader open what they need. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/types.h>

static unsigned long calls;

ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
	static ssize_t (*next)(int, void *, size_t, off64_t);

	if (__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) >= 200) {
		errno = EIO;
		return -1;
	}
	if (!next)
		next = (ssize_t (*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
	return next(fd, buffer, length, offset);
}

/* Both names are in use: which one depends on how a program was built. */
ssize_t pread64(int fd, void *buffer, size_t length, off64_t offset) __attribute__((alias("pread")));
