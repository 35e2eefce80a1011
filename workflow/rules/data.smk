rule data:
    output:
        images=IMAGES,
    log:
        f"{LOGS}/data/{{dataset}}.log",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=3500,
        runtime=30,
    params:
        settings=settings_of("data"),
        # Not as input: where files lie does not count, nor need their names be such as Snakemake takes.
        files=data_files,
        code=code_of("data"),
        places=DATA_PLACES,
        plugins=PLUGIN_FILES,
    shell:
        command("data")


rule partition:
    input:
        images=IMAGES,
    output:
        shards=SHARDS,
    log:
        f"{LOGS}/data/{{dataset}}/{{partition}}/seed-{{seed}}.log",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_of("partition"),
        code=code_of("partition"),
        plugins=PLUGIN_FILES,
    shell:
        command("partition")
