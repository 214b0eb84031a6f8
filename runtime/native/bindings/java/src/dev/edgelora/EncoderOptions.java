package dev.edgelora;

import java.util.List;

/** Which adapters answer; {@code edgelora_encoder_options} of {@code edgelora.h}. A call reads them when it begins. */
public final class EncoderOptions {
    private String adapter;
    private List<String> adapters;
    private Cancel cancel;

    /** SPEC for every text; null (default): the one that is set. */
    public EncoderOptions adapter(String spec) {
        adapter = spec;
        return this;
    }

    /** One SPEC for each text, instead of {@link #adapter}. */
    public EncoderOptions adapters(List<String> specs) {
        adapters = specs;
        return this;
    }

    /** Ends the call from another thread. */
    public EncoderOptions cancel(Cancel flag) {
        cancel = flag;
        return this;
    }

    byte[][] texts() {
        return new byte[][] {Utf8.zeroEnded(adapter), Utf8.list(adapters)};
    }

    Cancel cancel() {
        return cancel;
    }
}
