/* What a test may do to the machine under a program (LD_PRELOAD): another time of day, a disk that is slow or fails.

   HARDWARE_FILE names a file of three numbers, which the test writes at any time: what is added to the time of day,
   what each fsync takes longer (both in microseconds), and the errno with which it fails (0: it does not). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { ADDED, SLOWER, FAILS };
static volatile int64_t nothing[3];
static volatile int64_t *machine = nothing;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HARDWARE_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof nothing, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) machine = mapped;
    close(file);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *now) {
    static __typeof__(&clock_gettime) real;
    if (!real) real = REAL(clock_gettime);
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += machine[ADDED] / 1000000;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static int (*real)(struct timeval *restrict, void *restrict);
    if (!real) real = (int (*)(struct timeval *restrict, void *restrict))dlsym(RTLD_NEXT, "gettimeofday");
    int failed = real(now, zone);
    if (!failed) now->tv_sec += machine[ADDED] / 1000000;
    return failed;
}

time_t time(time_t *at) {
    struct timeval now;
    gettimeofday(&now, NULL);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

static int synced(int (*real)(int), int file) {
    if (machine[SLOWER]) usleep(machine[SLOWER]);
    if (machine[FAILS]) { errno = machine[FAILS]; return -1; }
    return real(file);
}

int fsync(int file) { return synced(REAL(fsync), file); }
int fdatasync(int file) { return synced(REAL(fdatasync), file); }
