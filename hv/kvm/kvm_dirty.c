/* Who wrote where, from the kernel into memory's dirty log.
 *
 * Ring: each vCPU has one, the kernel puts a page into it when it is written for the first time, and the page stays
 * writable until the entry is given back. Harvesting costs what was written, not what there is. A vCPU whose ring is
 * full stops and harvests. A KVM without hardware does not get one: it emulates many instructions between two looks at
 * the ring's limit, and was seen to write over what nobody had read.
 * Bitmap: one a slot; read, then cleared explicitly, so that a page written between the two is not lost: its bit is in
 * what was read, and its content is looked at after.
 *
 * Either way: once kvm_dirty_sync() has returned, a page whose bit is set may be read; if it is written later, its bit
 * is set again. What other threads write (disks) does not come by here, but from memory_touched().
 * Source: Linux, Documentation/virt/kvm/api.rst 4.8, 4.117, 8.29. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/kvm/kvm_vm.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { WORD_BITS = 64 };

static size_t ring_bytes(void)
{
    return KVM_RING_ENTRIES * sizeof(struct kvm_dirty_gfn);
}

static int open_ring(struct kvm_vm *vm, struct err *err)
{
    struct kvm_enable_cap ring = {.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL, .args = {ring_bytes()}};
    if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_ACQ_REL) < (int)ring_bytes())
        ring.cap = KVM_CAP_DIRTY_LOG_RING; /* x86 orders stores anyway */
    if (ioctl(vm->fd, KVM_CHECK_EXTENSION, ring.cap) < (int)ring_bytes() || ioctl(vm->fd, KVM_ENABLE_CAP, &ring))
        return err_set(err, ENOTSUP, "this kernel's KVM has no dirty ring");
    vm->ring = true;
    return 0;
}

static int open_bitmap(struct kvm_vm *vm, struct err *err)
{
    struct kvm_enable_cap manual = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                                    .args = {KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE}};
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &manual))
        return err_set(err, errno, "KVM keeps no dirty log: %s", strerror(errno));
    uint64_t largest = 0;
    for (unsigned i = 0; i < memory_slot_count(vm->memory); i++)
        if (memory_slot(vm->memory, i)->bytes > largest)
            largest = memory_slot(vm->memory, i)->bytes;
    vm->bitmap_bytes = ((largest >> MEMORY_PAGE_BITS) + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t);
    vm->bitmap = malloc(vm->bitmap_bytes);
    return vm->bitmap ? 0 : err_set(err, ENOMEM, "no memory for a dirty log of %zu bytes", vm->bitmap_bytes);
}

int kvm_dirty_open(struct kvm_vm *vm, enum kvm_dirty dirty, struct err *err)
{
    if (dirty == KVM_DIRTY_RING || (dirty == KVM_DIRTY_BEST && kvm_hardware())) {
        int rc = open_ring(vm, err);
        if (!rc || dirty == KVM_DIRTY_RING)
            return rc;
    }
    return open_bitmap(vm, err);
}

void kvm_dirty_close(struct kvm_vm *vm)
{
    free(vm->bitmap);
}

int kvm_dirty_vcpu_open(struct kvm_vcpu *vcpu, struct err *err)
{
    struct kvm_vm *vm = CONTAINER_OF(vcpu->base.vm, struct kvm_vm, base);
    if (!vm->ring)
        return 0;
    off_t at = KVM_DIRTY_LOG_PAGE_OFFSET * (off_t)sysconf(_SC_PAGESIZE);
    void *ring = mmap(NULL, ring_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, at);
    if (ring == MAP_FAILED)
        return err_set(err, errno, "cannot map the dirty ring of vCPU %u: %s", vcpu->base.index, strerror(errno));
    vcpu->ring = ring;
    vcpu->harvested = calloc(KVM_RING_ENTRIES, sizeof *vcpu->harvested);
    return vcpu->harvested ? 0 : err_set(err, ENOMEM, "no memory for the dirty ring of vCPU %u", vcpu->base.index);
}

void kvm_dirty_vcpu_close(struct kvm_vcpu *vcpu)
{
    if (vcpu->ring)
        munmap(vcpu->ring, ring_bytes());
    free(vcpu->harvested);
}

/* ---- rings ---- */

/* With dirty_lock held. The kernel stops a vCPU well before its ring is full. */
static unsigned harvest(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
    for (unsigned count = 0;; count++) {
        struct kvm_dirty_gfn *entry = &vcpu->ring[vcpu->ring_next % KVM_RING_ENTRIES];
        if (count == KVM_RING_ENTRIES) {
            vm->ring_lost = true;
            return count;
        }
        if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
            return count;
        vcpu->harvested[count] = (struct kvm_harvested){.offset = entry->offset, .slot = entry->slot & 0xffff};
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        vcpu->ring_next++;
    }
}

static void log_harvested(struct kvm_vm *vm, const struct kvm_vcpu *vcpu, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct kvm_harvested *h = &vcpu->harvested[i];
        if (h->slot < vm->slots_mapped)
            memory_log_page(vm->memory, memory_slot(vm->memory, h->slot)->gpa + (h->offset << MEMORY_PAGE_BITS));
    }
}

/* From a ring that ran over nothing can be learnt any more, not even later: kernel and we are out of step. */
static void log_everything(struct kvm_vm *vm)
{
    static struct log_limit limit = {.burst = 1, .interval_ms = 60000};
    log_limited(&limit, LOG_LEVEL_ERROR, "KVM's dirty ring ran over: all memory counts as written from here on");
    for (unsigned i = 0; i < vm->slots_mapped; i++) {
        const struct memory_slot *slot = memory_slot(vm->memory, i);
        for (uint64_t at = 0; !slot->read_only && at < slot->bytes; at += MEMORY_PAGE_BYTES)
            memory_log_page(vm->memory, slot->gpa + at);
    }
}

static void harvest_all(struct kvm_vm *vm)
{
    unsigned counts[VCPU_MAX] = {0}, count = 0;
    pthread_mutex_lock(&vm->dirty_lock);
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (vm->vcpus[i] && vm->vcpus[i]->ring)
            counts[i] = harvest(vm, vm->vcpus[i]);
        count += counts[i];
    }
    if (count)
        ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, 0); /* protects the pages again */
    /* Only now: whoever takes a page's mark, without this lock, and sends it, must not miss a write that comes before
     * the page is protected. */
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        if (counts[i])
            log_harvested(vm, vm->vcpus[i], counts[i]);
    if (vm->ring_lost)
        log_everything(vm);
    pthread_mutex_unlock(&vm->dirty_lock);
}

/* ---- bitmaps ---- */

static int clear(struct kvm_vm *vm, unsigned slot, uint64_t pages)
{
    struct kvm_clear_dirty_log log = {
        .slot = slot, .num_pages = (uint32_t)pages, .first_page = 0, .dirty_bitmap = vm->bitmap};
    return ioctl(vm->fd, KVM_CLEAR_DIRTY_LOG, &log);
}

static void take(struct kvm_vm *vm, unsigned i)
{
    static struct log_limit limit = {.burst = 3, .interval_ms = 60000};
    const struct memory_slot *slot = memory_slot(vm->memory, i);
    uint64_t pages = slot->bytes >> MEMORY_PAGE_BITS;
    struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = vm->bitmap};
    if (slot->read_only || slot->bytes >> MEMORY_PAGE_BITS > vm->bitmap_bytes * 8)
        return;
    if (ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log)) { /* cannot happen; if it does, everything is dirty */
        log_limited(&limit, LOG_LEVEL_ERROR, "KVM does not tell what was written: %s", strerror(errno));
        memset(vm->bitmap, 0xff, vm->bitmap_bytes);
    }
    bool any = false;
    for (uint64_t word = 0; word * WORD_BITS < pages; word++) {
        any |= vm->bitmap[word] != 0;
        for (uint64_t bits = vm->bitmap[word]; bits; bits &= bits - 1) {
            uint64_t page = word * WORD_BITS + (unsigned)__builtin_ctzll(bits);
            memory_log_page(vm->memory, slot->gpa + (page << MEMORY_PAGE_BITS));
        }
    }
    if (any)
        clear(vm, i, pages);
}

/* ---- the interface ---- */

int kvm_dirty_start(struct vm *base, struct err *err)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    if (vm->ring)
        harvest_all(vm); /* what an earlier log left */
    memory_log_start(vm->memory);
    int rc = kvm_memory_set_logging(vm, true, err);
    if (rc)
        kvm_dirty_stop(base);
    return rc;
}

void kvm_dirty_sync(struct vm *base)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    if (vm->ring)
        harvest_all(vm);
    for (unsigned i = 0; !vm->ring && vm->logging && i < vm->slots_mapped; i++)
        take(vm, i);
}

void kvm_dirty_stop(struct vm *base)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    struct err err;
    if (kvm_memory_set_logging(vm, false, &err))
        log_error("%s", err.text); /* the guest is slower for it, and right */
    if (vm->ring)
        harvest_all(vm);
    memory_log_stop(vm->memory);
}
