package dev.edgelora;

import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.function.LongConsumer;

/** Something of native code that is given back once, when no call uses it any more. */
final class Handle {
    private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
    private final String what;
    private long address;

    Handle(String what, long address) {
        this.what = what;
        this.address = address;
    }

    /** Keep it alive until {@link #release}. */
    long hold() {
        lock.readLock().lock();
        if (address == 0) {
            lock.readLock().unlock();
            throw new IllegalStateException(what + " is closed");
        }
        return address;
    }

    void release() {
        lock.readLock().unlock();
    }

    /** Waits for the calls that use it. */
    void close(LongConsumer free) {
        if (lock.getReadHoldCount() > 0) {
            throw new IllegalStateException(what + " cannot be closed by a listener of its own call");
        }
        lock.writeLock().lock();
        try {
            long given = address;
            address = 0;
            if (given != 0) {
                free.accept(given);
            }
        } finally {
            lock.writeLock().unlock();
        }
    }
}
