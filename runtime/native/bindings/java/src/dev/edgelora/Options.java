package dev.edgelora;

import java.util.Arrays;
import java.util.List;

/** How an answer is made; {@code edgelora_generate_options} of {@code edgelora.h}. A call reads them when it begins. */
public final class Options {
    private String adapter;
    private List<String> adapters;
    private int maxNewTokens = 128;
    private double temperature;
    private int topK;
    private double topP = 1;
    private double minP;
    private double repetitionPenalty = 1;
    private boolean hasSeed;
    private long seed;
    private List<String> stop;
    private List<String> choices;
    private boolean raw;
    private String templateJson;
    private String toolsJson;
    private String date;
    private Cancel cancel;

    /** SPEC for every row: "none", "NAME", "NAME:0.5", "A:0.7+B:0.3"; null (default): the one that is set. */
    public Options adapter(String spec) {
        adapter = spec;
        return this;
    }

    /** One SPEC for each row of a batch, instead of {@link #adapter}. */
    public Options adapters(List<String> specs) {
        adapters = specs;
        return this;
    }

    /** Longest answer; 128 by default. */
    public Options maxNewTokens(int count) {
        maxNewTokens = count;
        return this;
    }

    /** 0 (default) takes the likeliest token. */
    public Options temperature(double value) {
        temperature = value;
        return this;
    }

    /** This many of the likeliest tokens; 0 (default): all. */
    public Options topK(int count) {
        topK = count;
        return this;
    }

    /** The fewest tokens that are this likely together; 1 by default. */
    public Options topP(double share) {
        topP = share;
        return this;
    }

    /** Leave out tokens less likely than this share of the likeliest; 0 by default. */
    public Options minP(double share) {
        minP = share;
        return this;
    }

    /** Above 1 (default), tokens that the text already holds become less likely. */
    public Options repetitionPenalty(double value) {
        repetitionPenalty = value;
        return this;
    }

    /** Draw with this seed, of which all 64 bits count: the same answer on every device. By default from chance. */
    public Options seed(long value) {
        hasSeed = true;
        seed = value;
        return this;
    }

    /** Texts that end the answer before them. */
    public Options stop(String... texts) {
        stop = Arrays.asList(texts);
        return this;
    }

    /** Texts one of which is the answer: the likeliest. */
    public Options choices(String... texts) {
        choices = Arrays.asList(texts);
        return this;
    }

    /** Continue the text as it is, without the chat template. */
    public Options raw(boolean value) {
        raw = value;
        return this;
    }

    /** A JSON object of variables for the chat template. */
    public Options templateJson(String json) {
        templateJson = json;
        return this;
    }

    /** A JSON list of the schemas of functions. */
    public Options toolsJson(String json) {
        toolsJson = json;
        return this;
    }

    /** YYYY-MM-DD, the day that a template writes; null (default): today. */
    public Options date(String day) {
        date = day;
        return this;
    }

    /** Ends the call from another thread. */
    public Options cancel(Cancel flag) {
        cancel = flag;
        return this;
    }

    byte[][] texts() {
        return new byte[][] {
            Utf8.zeroEnded(adapter), Utf8.list(adapters), Utf8.list(stop), Utf8.list(choices),
            Utf8.zeroEnded(templateJson), Utf8.zeroEnded(toolsJson), Utf8.zeroEnded(date)
        };
    }

    double[] reals() {
        return new double[] {temperature, topP, minP, repetitionPenalty};
    }

    /** {@code cancelAddress} is that of the flag, which the call holds, or 0. */
    long[] numbers(long cancelAddress) {
        return new long[] {maxNewTokens, topK, hasSeed ? 1 : 0, seed, raw ? 1 : 0, cancelAddress};
    }

    Cancel cancel() {
        return cancel;
    }
}
