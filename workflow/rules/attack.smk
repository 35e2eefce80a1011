rule attack:
    input:
        images=IMAGES,
        shards=SHARDS,
        checkpoints=CHECKPOINTS,
    output:
        attack_runs=ATTACK_RUNS,
        reconstructions=RECONSTRUCTIONS,
    log:
        f"{LOGS}/attack/{places.BLOCK}.log",
    benchmark:
        f"{LOGS}/attack/{places.BLOCK}.benchmark.tsv"
    conda:
        "../envs/torch.yaml"
    threads: CONFIG.engine.threads
    resources:
        mem_mb=3500,
        runtime=720,
        gpu=gpus_wanted,
    params:
        settings=settings_of("attack"),
        code=code_of("attack"),
        plugins=PLUGIN_FILES,
    shell:
        command("attack")
