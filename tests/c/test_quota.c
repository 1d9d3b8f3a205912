/* test_quota.c - what Linux's files say of processors, here made up in a folder. */
#include "platform.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static char folder[] = "/tmp/test_quota_XXXXXX";

static void make(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void clean(void) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s/*", folder);
    CHECK(system(command) == 0);
}

static double quota(void) {
    char proc[256], groups[256];
    snprintf(proc, sizeof proc, "%s/proc", folder);
    snprintf(groups, sizeof groups, "%s/groups", folder);
    return platform_cpu_quota(proc, groups);
}

static void test_version_2(void) {
    CHECK(quota() == 0); /* nothing is there */
    make("proc/self/cgroup", "0::/a.slice/b\n");
    CHECK(quota() == 0);
    make("groups/a.slice/cpu.max", "250000 100000\n");
    make("groups/a.slice/b/cpu.max", "max 100000\n");
    CHECK(quota() == 2.5);
    make("groups/a.slice/b/cpu.max", "50000 100000\n");
    CHECK(quota() == 0.5); /* the least of all around the process */
    make("groups/cpu.max", "10000 100000\n");
    CHECK(quota() == 0.1);
    make("proc/self/cgroup", "0::/\n");
    make("groups/cpu.max", "300000 200000\n");
    CHECK(quota() == 1.5);
    make("proc/self/cgroup", "0::/not/there\n"); /* a container that sees its host's path */
    CHECK(quota() == 1.5);
    static const char *const nothing[] = {"",       "max",       "max 100000", "0 0", "many 100000",
                                          "100000", "-1 100000", "100000 0"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        make("groups/cpu.max", nothing[i]);
        CHECK(quota() == 0);
    }
    clean();
}

static void test_version_1(void) {
    make("proc/self/cgroup",
         "12:cpuset:/x\n5:memory:/docker/1\n4:cpuacct,cpu:/docker/1\n1:name=x:/\n");
    make("groups/cpuset/x/cpu.max", "1000 100000\n"); /* of another controller */
    CHECK(quota() == 0);
    make("groups/cpuacct,cpu/cpu.cfs_quota_us", "300000\n");
    CHECK(quota() == 0);
    make("groups/cpuacct,cpu/cpu.cfs_period_us", "100000\n");
    CHECK(quota() == 3);
    make("groups/cpuacct,cpu/docker/1/cpu.cfs_quota_us", "-1\n");
    make("groups/cpuacct,cpu/docker/1/cpu.cfs_period_us", "100000\n");
    CHECK(quota() == 3);
    make("groups/cpuacct,cpu/docker/1/cpu.cfs_quota_us", "150000\n");
    CHECK(quota() == 1.5);
    make("proc/self/cgroup", "no line\n:::\n4:cpu");
    CHECK(quota() == 0);
    clean();
}

int main(void) {
    CHECK(mkdtemp(folder));
    test_version_2();
    test_version_1();
    CHECK(rmdir(folder) == 0);
    return 0;
}
