rule train:
    input:
        images=IMAGES,
        shards=SHARDS,
    output:
        training=TRAINING,
        checkpoints=CHECKPOINTS,
    log:
        f"{LOGS}/train/{places.RUN}.log",
    benchmark:
        f"{LOGS}/train/{places.RUN}.benchmark.tsv"
    conda:
        "../envs/torch.yaml"
    threads: CONFIG.engine.threads
    resources:
        mem_mb=3500,
        runtime=240,
    params:
        settings=settings_of("train"),
        code=code_of("train"),
        plugins=PLUGIN_FILES,
    shell:
        command("train")
