// Records, in the order in which they happen, the operations that a process performs on the files below one
// folder; and lets the N-th of them fail. Loaded by LD_PRELOAD, driven through the shim_* functions.
//
// A record is a line "kind path other-path offset length" (tabs between) with `length` bytes behind it. One lock
// is held over each operation and its record, so that the order is the true one whatever the threads do. A fault
// is taken as the operation's result before it happens.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int out = -1;                            // the log, -1 while nothing is recorded
static long fail_at = 0, seen = 0, failed = 0;  // 1-based; 0 for none
static int fail_errno = 0, fail_on = 0;
static char fail_part[256];  // only operations on paths that have this part count

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void raw_write(const void *data, size_t length) {
  const char *at = data;
  while (length > 0) {
    ssize_t done = syscall(SYS_write, out, at, length);
    if (done < 0) abort();
    at += done;
    length -= done;
  }
}

int shim_start(const char *folder, const char *log) {
  pthread_mutex_lock(&lock);
  if (!realpath(folder, root)) { pthread_mutex_unlock(&lock); return -1; }
  root_length = strlen(root);
  out = log ? syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
  pthread_mutex_unlock(&lock);
  return log && out < 0 ? -1 : 0;
}

void shim_stop(void) {
  pthread_mutex_lock(&lock);
  if (out >= 0) syscall(SYS_close, out);
  out = -1;
  root_length = 0;
  fail_at = 0;
  pthread_mutex_unlock(&lock);
}

// The at-th operation from now on whose path has `part` fails; with `on`, all later ones do as well.
void shim_fail(long at, int number, int on, const char *part) {
  pthread_mutex_lock(&lock);
  fail_at = at; fail_errno = number; fail_on = on; seen = 0; failed = 0;
  snprintf(fail_part, sizeof fail_part, "%s", part);
  pthread_mutex_unlock(&lock);
}

long shim_failed(void) { return failed; }

// The path within the folder, or NULL if it is outside of it. Links in it are not followed: there are none.
static const char *inside(const char *path) {
  if (root_length == 0 || strncmp(path, root, root_length) || path[root_length] != '/') return NULL;
  return path + root_length + 1;
}

static const char *of_fd(int fd, char *buffer) {
  if (root_length == 0) return NULL;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, buffer, PATH_MAX - 1);
  if (length < 0) return NULL;
  buffer[length] = 0;
  if (!strcmp(buffer, root)) return "";
  return inside(buffer);
}

static const char *of_path(int folder, const char *path, char *buffer) {
  if (root_length == 0) return NULL;
  if (path[0] == '/') {
    snprintf(buffer, PATH_MAX, "%s", path);
  } else {
    char base[PATH_MAX];
    if (folder == AT_FDCWD) {
      if (!getcwd(base, sizeof base)) return NULL;
    } else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      ssize_t length = readlink(link, base, PATH_MAX - 1);
      if (length < 0) return NULL;
      base[length] = 0;
    }
    if (snprintf(buffer, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return NULL;
  }
  size_t length = strlen(buffer);
  while (length > 1 && buffer[length - 1] == '/') buffer[--length] = 0;
  return inside(buffer);
}

static void record(const char *kind, const char *path, const char *other, long offset, const void *data,
                   size_t length) {
  if (out < 0) return;
  char line[2 * PATH_MAX + 128];
  int size = snprintf(line, sizeof line, "%s\t%s\t%s\t%ld\t%zu\n", kind, path, other, offset, length);
  raw_write(line, size);
  if (length) raw_write(data, length);
}

// A word of the test's own among the operations.
void shim_mark(const char *words) {
  pthread_mutex_lock(&lock);
  record("mark", words, "", 0, NULL, 0);
  pthread_mutex_unlock(&lock);
}

static int fails(const char *path) {
  if (!path || fail_at == 0 || !strstr(path, fail_part)) return 0;
  seen++;
  if (seen == fail_at || (fail_on && seen > fail_at)) { failed++; errno = fail_errno; return 1; }
  return 0;
}

#define BEGIN pthread_mutex_lock(&lock)
#define END(result) do { int kept = errno; pthread_mutex_unlock(&lock); errno = kept; return result; } while (0)

static int any_open(int folder, const char *path, int flags, mode_t mode) {
  static int (*open_at)(int, const char *, int, ...);
  if (!open_at) open_at = (int (*)(int, const char *, int, ...))real("openat64");
  if (!(flags & (O_CREAT | O_TRUNC)) || root_length == 0) return open_at(folder, path, flags, mode);
  char buffer[PATH_MAX];
  BEGIN;
  const char *name = of_path(folder, path, buffer);
  struct stat status;
  int existed = name && fstatat(folder, path, &status, 0) == 0;
  if (fails(name)) END(-1);
  int fd = open_at(folder, path, flags, mode);
  if (fd >= 0 && name && !existed) record("create", name, "", 0, NULL, 0);
  if (fd >= 0 && name && existed && (flags & O_TRUNC) && status.st_size) record("cut", name, "", 0, NULL, 0);
  END(fd);
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { \
  va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }
int open(const char *path, int flags, ...) { MODE(flags) return any_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return any_open(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return any_open(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return any_open(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return any_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

static long where(int fd) {
  struct stat status;
  int flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_APPEND)) return fstat(fd, &status) ? 0 : status.st_size;
  return lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t length) {
  static ssize_t (*call)(int, const void *, size_t);
  if (!call) call = REAL(write);
  char buffer[PATH_MAX];
  if (root_length == 0 || !of_fd(fd, buffer)) return call(fd, data, length);
  BEGIN;
  const char *name = of_fd(fd, buffer);
  if (fails(name)) END(-1);
  long offset = where(fd);
  ssize_t done = call(fd, data, length);
  if (done > 0 && name) record("write", name, "", offset, data, done);
  END(done);
}

static ssize_t at_offset(int fd, const void *data, size_t length, off_t offset) {
  static ssize_t (*call)(int, const void *, size_t, off_t);
  if (!call) call = (ssize_t (*)(int, const void *, size_t, off_t))real("pwrite64");
  char buffer[PATH_MAX];
  if (root_length == 0 || !of_fd(fd, buffer)) return call(fd, data, length, offset);
  BEGIN;
  const char *name = of_fd(fd, buffer);
  if (fails(name)) END(-1);
  ssize_t done = call(fd, data, length, offset);
  if (done > 0 && name) record("write", name, "", offset, data, done);
  END(done);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return at_offset(fd, data, length, at); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) { return at_offset(fd, data, length, at); }

static ssize_t vector(int fd, const struct iovec *parts, int count, off_t offset, int placed) {
  char buffer[PATH_MAX];
  ssize_t (*call)(int, const struct iovec *, int) = REAL(writev);
  ssize_t (*call_at)(int, const struct iovec *, int, off_t) =
      (ssize_t (*)(int, const struct iovec *, int, off_t))real("pwritev64");
  if (root_length == 0 || !of_fd(fd, buffer))
    return placed ? call_at(fd, parts, count, offset) : call(fd, parts, count);
  BEGIN;
  const char *name = of_fd(fd, buffer);
  if (fails(name)) END(-1);
  if (!placed) offset = where(fd);
  ssize_t done = placed ? call_at(fd, parts, count, offset) : call(fd, parts, count);
  if (done > 0 && name) {
    char *joined = malloc(done), *at = joined;
    ssize_t left = done;
    for (int i = 0; i < count && left > 0; i++) {
      size_t some = (ssize_t)parts[i].iov_len < left ? parts[i].iov_len : (size_t)left;
      memcpy(at, parts[i].iov_base, some);
      at += some;
      left -= some;
    }
    record("write", name, "", offset, joined, done);
    free(joined);
  }
  END(done);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return vector(fd, parts, count, 0, 0); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return vector(fd, parts, count, at, 1); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return vector(fd, parts, count, at, 1); }

static int move(int from, const char *old, int to, const char *new, unsigned flags) {
  static int (*call)(int, const char *, int, const char *, unsigned);
  if (!call) call = (int (*)(int, const char *, int, const char *, unsigned))real("renameat2");
  char one[PATH_MAX], other[PATH_MAX];
  BEGIN;
  const char *before = of_path(from, old, one), *after = of_path(to, new, other);
  if (fails(before)) END(-1);
  int done = call(from, old, to, new, flags);
  if (!done && before && after) record("rename", before, after, 0, NULL, 0);
  END(done);
}
int rename(const char *old, const char *new) { return move(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return move(from, old, to, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) { return move(from, old, to, new, flags); }

static int away(int folder, const char *path, int flags) {
  static int (*call)(int, const char *, int);
  if (!call) call = REAL(unlinkat);
  char buffer[PATH_MAX];
  BEGIN;
  const char *name = of_path(folder, path, buffer);
  int done = call(folder, path, flags);
  if (!done && name) record(flags & AT_REMOVEDIR ? "rmdir" : "unlink", name, "", 0, NULL, 0);
  END(done);
}
int unlink(const char *path) { return away(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return away(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int folder, const char *path, int flags) { return away(folder, path, flags); }

static int make(int folder, const char *path, mode_t mode) {
  static int (*call)(int, const char *, mode_t);
  if (!call) call = REAL(mkdirat);
  char buffer[PATH_MAX];
  BEGIN;
  const char *name = of_path(folder, path, buffer);
  if (fails(name)) END(-1);
  int done = call(folder, path, mode);
  if (!done && name) record("mkdir", name, "", 0, NULL, 0);
  END(done);
}
int mkdir(const char *path, mode_t mode) { return make(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return make(folder, path, mode); }

static int shorten(int fd, off_t length) {
  static int (*call)(int, off_t);
  if (!call) call = (int (*)(int, off_t))real("ftruncate64");
  char buffer[PATH_MAX];
  BEGIN;
  const char *name = of_fd(fd, buffer);
  int done = call(fd, length);
  if (!done && name) record("cut", name, "", length, NULL, 0);
  END(done);
}
int ftruncate(int fd, off_t length) { return shorten(fd, length); }
int ftruncate64(int fd, off64_t length) { return shorten(fd, length); }

static int shorten_path(const char *path, off_t length) {
  static int (*call)(const char *, off_t);
  if (!call) call = (int (*)(const char *, off_t))real("truncate64");
  char buffer[PATH_MAX];
  BEGIN;
  const char *name = of_path(AT_FDCWD, path, buffer);
  int done = call(path, length);
  if (!done && name) record("cut", name, "", length, NULL, 0);
  END(done);
}
int truncate(const char *path, off_t length) { return shorten_path(path, length); }
int truncate64(const char *path, off64_t length) { return shorten_path(path, length); }

static int flush(int fd, const char *which) {
  char buffer[PATH_MAX];
  int (*call)(int) = (int (*)(int))real(which);
  BEGIN;
  const char *name = of_fd(fd, buffer);
  if (fails(name)) END(-1);
  int done = call(fd);
  if (!done && name) record("sync", name, "", 0, NULL, 0);
  END(done);
}
int fsync(int fd) { return flush(fd, "fsync"); }
int fdatasync(int fd) { return flush(fd, "fdatasync"); }
