/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * insn-plugin: a TCG plugin that counts the instructions which a guest executes
 * for each operation of its driver.
 *
 *   -plugin insn-plugin.so,map=FILE,out=FILE
 *
 * The map names what to look at, in lines whose addresses are hexadecimal:
 *
 *   function START END CLASS NAME   text of the driver; CLASS is "driver", or
 *                                   "wait" for what only spins for an answer
 *   op ADDRESS NAME                 an operation begins when this is executed;
 *                                   inside of another one, the operation of the
 *                                   later line gives both its name: a store
 *                                   that gets as far as a put is a put
 *   text START END                  all text of the kernel
 *
 * Whose instructions they are follows from the stack: an operation belongs to
 * the kernel stack that it began on, and ends when the stack pointer is above
 * where it was at that moment.  So interrupts, other tasks, and other users of
 * the same functions (virtio-blk has virtqueues too) do not count, and a task
 * that sleeps and goes on elsewhere is still itself.
 *
 * Counted apart: functions of the driver, each by itself; waiting; and, as
 * "called", the rest of the kernel on that stack (locks, bit maps, xarrays).
 * An instruction with a repeat prefix counts once, however many bytes it moves.
 */
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define MAX_FUNCTIONS   256
#define MAX_OPS         16
/* Tasks in the middle of an operation: asleep, or on another vCPU */
#define MAX_ACTIVE      64
/* Counts above this are all the same for percentiles, not for the maximum */
#define HISTOGRAM       16384
/* Kernel stacks have this size and alignment (THREAD_SIZE of x86-64) */
#define STACK_SIZE      (16 * 1024)

/* A block's instructions and their function fit in a pointer */
#define COUNT_BITS      16

typedef struct Function {
    uint64_t start, end;
    bool wait;
    char *name;
} Function;

typedef struct Op {
    uint64_t entry;
    char *name;
    uint64_t number, called, wait;
    uint64_t max, max_all;
    uint64_t functions[MAX_FUNCTIONS];
    uint64_t histogram[HISTOGRAM + 1];
} Op;

typedef struct Active {
    uint64_t sp;
    unsigned int op;
    uint64_t called;
    uint32_t functions[MAX_FUNCTIONS];
} Active;

static Function functions[MAX_FUNCTIONS];
static unsigned int nr_functions;
static Op ops[MAX_OPS];
static unsigned int nr_ops;
static uint64_t text_start, text_end;
static const char *out_name;

/* Protects what follows, and the results in ops */
static GMutex lock;
static Active active[MAX_ACTIVE];
static unsigned int nr_active;

static struct qemu_plugin_register *sp_register;

/*
 * Not 0 on a vCPU that may be inside of an operation: only then is the rest of
 * the kernel worth a callback.
 */
static qemu_plugin_u64 inside;

static uint64_t read_sp(void)
{
    static __thread GByteArray *bytes;
    uint64_t sp = 0;

    if (!bytes) {
        bytes = g_byte_array_new();
    }
    g_byte_array_set_size(bytes, 0);
    if (qemu_plugin_read_register(sp_register, bytes) == sizeof(sp)) {
        memcpy(&sp, bytes->data, sizeof(sp));
    }
    return GUINT64_FROM_LE(sp);
}

/* The operation is over: add what it took. Called with the lock held. */
static void end_active(Active *a)
{
    Op *op = &ops[a->op];
    uint64_t driver = 0;

    for (unsigned int i = 0; i < nr_functions; i++) {
        op->functions[i] += a->functions[i];
        if (functions[i].wait) {
            op->wait += a->functions[i];
        } else {
            driver += a->functions[i];
        }
    }
    op->number++;
    op->called += a->called;
    op->max = MAX(op->max, driver);
    op->max_all = MAX(op->max_all, driver + a->called);
    op->histogram[MIN(driver, HISTOGRAM)]++;
    *a = active[--nr_active];
}

/*
 * The operation on this stack, NULL if there is none. One that the stack
 * pointer has left behind ends here. Called with the lock held.
 */
static Active *find_active(uint64_t sp)
{
    for (unsigned int i = 0; i < nr_active; i++) {
        Active *a = &active[i];

        if ((a->sp ^ sp) / STACK_SIZE) {
            continue;
        }
        if (sp <= a->sp) {
            return a;
        }
        end_active(a);
        return NULL;
    }
    return NULL;
}

static void op_begins(unsigned int vcpu_index, void *udata)
{
    unsigned int op = GPOINTER_TO_UINT(udata);
    uint64_t sp = read_sp();
    Active *a;

    g_mutex_lock(&lock);
    a = find_active(sp);
    if (a) {
        a->op = MAX(a->op, op);
    } else if (nr_active < MAX_ACTIVE) {
        a = &active[nr_active++];
        memset(a, 0, sizeof(*a));
        a->sp = sp;
        a->op = op;
    }
    g_mutex_unlock(&lock);
    qemu_plugin_u64_set(inside, vcpu_index, 1);
}

static void driver_executes(unsigned int vcpu_index, void *udata)
{
    unsigned int what = GPOINTER_TO_UINT(udata);
    uint64_t sp = read_sp();
    Active *a;

    g_mutex_lock(&lock);
    a = find_active(sp);
    if (a) {
        a->functions[what >> COUNT_BITS] += what & ((1 << COUNT_BITS) - 1);
    }
    g_mutex_unlock(&lock);
    if (a) {
        qemu_plugin_u64_set(inside, vcpu_index, 1);
    }
}

static void kernel_executes(unsigned int vcpu_index, void *udata)
{
    uint64_t sp = read_sp();
    bool any;
    Active *a;

    g_mutex_lock(&lock);
    a = find_active(sp);
    if (a) {
        a->called += GPOINTER_TO_UINT(udata);
    }
    any = nr_active > 0;
    g_mutex_unlock(&lock);
    /* An operation that sleeps says so itself when it goes on */
    if (!any) {
        qemu_plugin_u64_set(inside, vcpu_index, 0);
    }
}

/* The function at an address, nr_functions if it is none of the driver's */
static unsigned int find_function(uint64_t addr)
{
    unsigned int i;

    for (i = 0; i < nr_functions; i++) {
        if (addr >= functions[i].start && addr < functions[i].end) {
            break;
        }
    }
    return i;
}

/* Operations that begin here, before the instruction itself is counted */
static void watch_entry(struct qemu_plugin_insn *insn)
{
    uint64_t addr = qemu_plugin_insn_vaddr(insn);

    for (unsigned int i = 0; i < nr_ops; i++) {
        if (ops[i].entry == addr) {
            qemu_plugin_register_vcpu_insn_exec_cb(
                insn, op_begins, QEMU_PLUGIN_CB_R_REGS, GUINT_TO_POINTER(i));
        }
    }
}

/* One callback for neighbours of the same function, at the first of them */
static void watch_run(struct qemu_plugin_tb *tb, size_t first, size_t nr,
                      unsigned int function)
{
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, first);

    if (function < nr_functions) {
        watch_entry(insn);
        qemu_plugin_register_vcpu_insn_exec_cb(
            insn, driver_executes, QEMU_PLUGIN_CB_R_REGS,
            GUINT_TO_POINTER(function << COUNT_BITS | nr));
    } else {
        qemu_plugin_register_vcpu_insn_exec_cond_cb(
            insn, kernel_executes, QEMU_PLUGIN_CB_R_REGS,
            QEMU_PLUGIN_COND_NE, inside, 0, GUINT_TO_POINTER(nr));
    }
}

static void tb_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t nr = qemu_plugin_tb_n_insns(tb), first = 0;
    unsigned int function, next;
    uint64_t addr = qemu_plugin_tb_vaddr(tb);

    if (addr < text_start || addr >= text_end) {
        return;
    }
    function = find_function(addr);
    for (size_t i = 1; i < nr; i++) {
        next = find_function(qemu_plugin_insn_vaddr(
                                 qemu_plugin_tb_get_insn(tb, i)));
        if (next != function) {
            watch_run(tb, first, i - first, function);
            first = i;
            function = next;
        }
    }
    watch_run(tb, first, nr - first, function);
}

static void vcpu_init(qemu_plugin_id_t id, unsigned int vcpu_index)
{
    g_autoptr(GArray) registers = qemu_plugin_get_registers();

    for (unsigned int i = 0; i < registers->len; i++) {
        qemu_plugin_reg_descriptor *r =
            &g_array_index(registers, qemu_plugin_reg_descriptor, i);

        if (!strcmp(r->name, "rsp")) {
            sp_register = r->handle;
        }
    }
    if (!sp_register) {
        fprintf(stderr, "insn-plugin: the guest has no register rsp\n");
        exit(1);
    }
}

/* The least count that @permille of the operations do not exceed */
static uint64_t percentile(const Op *op, unsigned int permille)
{
    uint64_t seen = 0;
    unsigned int i;

    for (i = 0; i < HISTOGRAM; i++) {
        seen += op->histogram[i];
        if (seen * 1000 >= op->number * permille) {
            break;
        }
    }
    return i;
}

static void write_op(FILE *f, const Op *op)
{
    const char *separator = "";
    uint64_t driver = 0;

    for (unsigned int i = 0; i < nr_functions; i++) {
        driver += functions[i].wait ? 0 : op->functions[i];
    }
    fprintf(f, "\"%s\": {\"number\": %" PRIu64 ", \"driver\": %" PRIu64
            ", \"called\": %" PRIu64 ", \"wait\": %" PRIu64,
            op->name, op->number, driver, op->called, op->wait);
    fprintf(f, ", \"p50\": %" PRIu64 ", \"p99\": %" PRIu64
            ", \"max\": %" PRIu64 ", \"max_all\": %" PRIu64
            ",\n  \"functions\": {",
            percentile(op, 500), percentile(op, 990), op->max, op->max_all);
    for (unsigned int i = 0; i < nr_functions; i++) {
        if (op->functions[i]) {
            fprintf(f, "%s\"%s\": %" PRIu64, separator, functions[i].name,
                    op->functions[i]);
            separator = ", ";
        }
    }
    fprintf(f, "}}");
}

static void write_result(qemu_plugin_id_t id, void *unused)
{
    FILE *f = fopen(out_name, "w");

    if (!f) {
        fprintf(stderr, "insn-plugin: cannot write %s\n", out_name);
        return;
    }
    /* vCPUs may still run */
    g_mutex_lock(&lock);
    fprintf(f, "{");
    for (unsigned int i = 0; i < nr_ops; i++) {
        fprintf(f, "%s", i ? ",\n" : "");
        write_op(f, &ops[i]);
    }
    fprintf(f, "}\n");
    g_mutex_unlock(&lock);
    fclose(f);
}

static bool parse_line(const char *line)
{
    char class[16], name[128];
    uint64_t start, end;

    if (sscanf(line, "function %" SCNx64 " %" SCNx64 " %15s %127s",
               &start, &end, class, name) == 4 &&
        nr_functions < MAX_FUNCTIONS) {
        functions[nr_functions++] = (Function) {
            .start = start, .end = end, .wait = !strcmp(class, "wait"),
            .name = g_strdup(name),
        };
        return true;
    }
    if (sscanf(line, "op %" SCNx64 " %127s", &start, name) == 2 &&
        nr_ops < MAX_OPS) {
        ops[nr_ops].entry = start;
        ops[nr_ops++].name = g_strdup(name);
        return true;
    }
    return sscanf(line, "text %" SCNx64 " %" SCNx64,
                  &text_start, &text_end) == 2;
}

static bool read_map(const char *name)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!name || !g_file_get_contents(name, &text, NULL, NULL)) {
        fprintf(stderr, "insn-plugin: cannot read map=%s\n", name ?: "");
        return false;
    }
    lines = g_strsplit(g_strchomp(text), "\n", -1);
    for (char **line = lines; *line; line++) {
        if (!parse_line(*line)) {
            fprintf(stderr, "insn-plugin: %s: cannot take \"%s\"\n",
                    name, *line);
            return false;
        }
    }
    return true;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info,
                                           int argc, char **argv)
{
    const char *map = NULL;

    for (int i = 0; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "map=")) {
            map = argv[i] + strlen("map=");
        } else if (g_str_has_prefix(argv[i], "out=")) {
            out_name = argv[i] + strlen("out=");
        } else {
            fprintf(stderr, "insn-plugin: no option \"%s\", only map= and "
                    "out=\n", argv[i]);
            return -1;
        }
    }
    if (!out_name) {
        fprintf(stderr, "insn-plugin: out=FILE is missing\n");
        return -1;
    }
    if (!read_map(map)) {
        return -1;
    }

    inside = qemu_plugin_scoreboard_u64(
        qemu_plugin_scoreboard_new(sizeof(uint64_t)));
    qemu_plugin_register_vcpu_init_cb(id, vcpu_init);
    qemu_plugin_register_vcpu_tb_trans_cb(id, tb_translated);
    qemu_plugin_register_atexit_cb(id, write_result, NULL);
    return 0;
}
