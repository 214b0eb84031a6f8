package dev.edgelora;

import java.io.Closeable;

/** A flag that ends calls from another thread; one may serve any number of calls. */
public final class Cancel implements Closeable {
    final Handle handle = new Handle("the cancel flag", Native.createCancel());

    /** Calls that have the flag end soon, and later ones at once, until it is reset. */
    public void set() {
        long cancel = handle.hold();
        try {
            Native.setCancel(cancel);
        } finally {
            handle.release();
        }
    }

    public void reset() {
        long cancel = handle.hold();
        try {
            Native.resetCancel(cancel);
        } finally {
            handle.release();
        }
    }

    /** Waits for the calls that have the flag. */
    @Override
    public void close() {
        handle.close(Native::freeCancel);
    }
}
