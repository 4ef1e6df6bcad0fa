/* Stands before the C library (LD_PRELOAD) and lets the n-th write to some files go wrong.

   FAULTS_SHIM = "<what>:<n>:<text>": from the n-th write, sync, truncation or removal of a file whose path
   contains <text>, counted in each process, either every one fails (what = eio, enospc), or the process ends
   at the n-th (what = exit). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static long at = -1, count = 0;
static int fault = 0; /* an errno; 0: the process ends */
static char text[512];

static void plan(void) {
    if (at >= 0) return;
    const char *said = getenv("FAULTS_SHIM");
    char what[16] = "";
    at = 0;
    if (said == NULL || sscanf(said, "%15[^:]:%ld:%511s", what, &at, text) != 3) { at = 0; return; }
    fault = strcmp(what, "eio") == 0 ? EIO : strcmp(what, "enospc") == 0 ? ENOSPC : 0;
}

static int due(const char *path) {
    if (at <= 0 || strstr(path, text) == NULL) return 0;
    if (__sync_add_and_fetch(&count, 1) < at) return 0;
    if (fault == 0) _exit(137);
    errno = fault;
    return 1;
}

static int due_fd(int fd) {
    char link[64], path[4096];
    plan();
    if (at <= 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return due(path);
}

/* The C library's own function of this name. */
#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name)) dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    return due_fd(fd) ? -1 : real(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t where) {
    REAL(pwrite);
    return due_fd(fd) ? -1 : real(fd, data, size, where);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t where) {
    REAL(pwrite64);
    return due_fd(fd) ? -1 : real(fd, data, size, where);
}
int fsync(int fd) {
    REAL(fsync);
    return due_fd(fd) ? -1 : real(fd);
}
int fdatasync(int fd) {
    REAL(fdatasync);
    return due_fd(fd) ? -1 : real(fd);
}
int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    return due_fd(fd) ? -1 : real(fd, size);
}
int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return due_fd(fd) ? -1 : real(fd, size);
}
int unlink(const char *path) {
    REAL(unlink);
    plan();
    return due(path) ? -1 : real(path);
}
