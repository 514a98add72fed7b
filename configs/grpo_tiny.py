"""GRPO on the built-in tasks with a 1.3M-parameter policy: minutes on a laptop's two cores.

    python -m llmi_jax.main --config=configs/grpo_tiny.py

Hardware: any; about 2 GiB of memory.
"""

from ml_collections import ConfigDict

from configs import judges, tools


def get_config(arg=None):
  del arg
  config = ConfigDict()
  config.seed = 0  # of everything random; equal ones give equal runs
  config.steps = 120  # updates
  config.epochs = 0  # passes over the training tasks, which set the steps; 0: as many steps as said
  config.unusable = 5  # steps in a row without a usable sample, after which the run ends

  # How processes find each other and what their devices make up; see docs/pods.md.
  config.distributed = ConfigDict()
  config.distributed.coordinator = ''  # HOST:PORT of process 0; auto: JAX knows; empty: one process
  config.distributed.processes = 1  # how many there are in all
  config.distributed.process = 0  # this one's number
  config.mesh = ConfigDict()
  config.mesh.replica = 1  # copies of all parameters, each with its share of the rows
  config.mesh.fsdp = 1  # 0: whatever devices the others leave
  config.mesh.tensor = 1  # devices that share every matrix
  config.mesh.expert = 1  # devices that share the experts
  config.mesh.sequence = False  # while it learns, `tensor` cuts tokens too, where nothing else is cut

  config.policy = ConfigDict()
  config.policy.path = 'builtin:tiny'  # a Hugging Face folder, or the policy that comes with the package
  config.policy.form = ''  # in its place a small one with experts (experts) or eyes (seeing)
  config.policy.rebuild = 0  # steps of supervised warm start to repeat first; the shipped policy had 2400
  config.policy.unroll = True  # layers one by one instead of scanned: faster on CPU
  config.policy.compute = 'float32'  # of updates: float32 or bfloat16; what is trained stays float32
  config.policy.remat = (
    'none'  # activations kept for the gradient: all (none), attention, dots or none (full)
  )
  config.policy.logits = 1 << 25  # logits held at once, by all devices together
  config.policy.share_prompts = True  # a prompt is run once for all its responses, in updates too
  config.policy.frozen = ()  # parameters that stay as they are: tower.* or *.moe.router.*
  config.policy.lora = ConfigDict()
  config.policy.lora.rank = 0  # of low-rank adapters, which alone are trained then; 0 trains everything
  config.policy.lora.alpha = 16.0  # adapters are scaled by alpha / rank
  config.policy.lora.targets = ('attention.*', 'mlp.*')  # linear maps that get one; moe.* for experts

  config.data = ConfigDict()
  config.data.train = 'builtin:train'  # or a parquet file
  config.data.eval = 'builtin:test'  # likewise, for evaluations
  config.data.prompts = 8  # prompts per step
  config.data.samples = 8  # rollouts per prompt

  config.prompt = ConfigDict()
  config.prompt.template = 'compact'  # a name in llmi_jax/text/templates or a file
  config.prompt.tokens = 208  # longest prompt
  config.prompt.pixels = 0  # larger pictures are scaled down to it, for a policy that sees; 0: its own limit

  config.sampler = ConfigDict()
  config.sampler.temperature = 1.0  # of sampling; 1 is the policy itself
  config.sampler.tokens = 160  # longest response
  config.sampler.compute = 'float32'  # of generation: float32 or bfloat16
  config.sampler.cache = 'float32'  # of keys and values
  config.sampler.chunk = 16  # tokens per row between two looks at what has ended
  config.sampler.rows = 0  # responses that are written at once; 0: all of a step

  config.loss = ConfigDict()
  config.loss.advantage = 'grpo'  # grpo, dr_grpo or rloo
  config.loss.ratio = 'token'  # token (GRPO), sequence or sequence_token (GSPO)
  config.loss.clip_low = 0.2  # how far below 1 a ratio counts
  config.loss.clip_high = 0.2  # how far above 1
  config.loss.clip_dual = 10.0  # 0 turns dual clipping off
  config.loss.objective = 'clip'  # clip, or cispo: the ratio's weight is clipped, never the gradient
  config.loss.aggregation = 'token_mean'  # or seq_mean_token_mean, seq_mean_token_sum, constant (Dr.GRPO)
  config.loss.constant = 0.0  # length that `constant` divides by; 0: the longest response
  config.loss.kl = 0.0  # weight of the KL to the policy that the run began with
  config.loss.kl_kind = 'k3_k2'  # estimator: k1, k2, k3, or the value of one with k2's gradient
  config.loss.entropy = 0.0  # weight of an entropy bonus
  config.loss.correction = ConfigDict()  # for the sampler's log-probabilities being not quite the learner's
  config.loss.correction.kind = 'none'  # none, token, sequence or mask
  config.loss.correction.high = 2.0  # largest weight
  config.loss.correction.low = 0.5  # mask: smallest weight
  config.loss.overlong = ConfigDict()
  config.loss.overlong.buffer = 0  # tokens before the limit that cost reward; 0: none do
  config.loss.overlong.factor = 1.0  # what a response that fills the buffer loses
  config.loss.overlong.mask = False  # leaves responses that were cut off out of the loss
  config.loss.balance = 0.0  # weight of the balancing loss of experts
  config.loss.replay = False  # later updates of a step use the experts chosen before the first

  config.optimizer = ConfigDict()
  config.optimizer.learning_rate = 3e-4  # highest, right after the warm-up
  config.optimizer.warmup = 5  # updates
  config.optimizer.final = 0.01  # share of the rate at the end
  config.optimizer.b1 = 0.9  # decay of AdamW's first moments
  config.optimizer.b2 = 0.999  # of its second
  config.optimizer.moments = 'float32'  # or bfloat16_first: 2 bytes less per parameter
  config.optimizer.offload = False  # whether moments wait in the host's memory between updates
  config.optimizer.updates = 1  # per step, each on its share of the prompts
  config.optimizer.weight_decay = 0.1  # per unit of learning rate
  config.optimizer.clip = 1.0  # global gradient norm
  config.optimizer.prompts = 2  # most per micro-batch; 0: as many as `tokens` allows
  config.optimizer.tokens = 0  # most per micro-batch, padding included; 0: no bound
  config.optimizer.widths = (64, 96, 160)  # response lengths that a micro-batch is padded to

  config.reward = ConfigDict()
  config.reward.preset = 'free'  # free: the values below; paper and released fix all of them down to tag
  config.reward.rule = 0.2  # weight of the rule about the number of pictures
  config.reward.llm = 0.5  # weight of the text judge
  config.reward.mllm = 0.3  # weight of the picture judge
  config.reward.gate = 'paper'  # paper (visual term only), all or none
  config.reward.no_image = 'paper'  # visual score of an answer without pictures: paper or released
  config.reward.text = 1.4  # weight of the text within the text judge's score
  config.reward.tag = 0.6  # likewise, of the tags
  config.reward.extra = ConfigDict()  # weights of what is otherwise only logged
  config.reward.extra.r_tool = 0.0  # of required tools being used
  config.reward.extra.hygiene = 0.0  # of clean prose
  config.reward.extra.valid_tag_rate = 0.0  # of tags being well formed
  config.reward.extra.tool_success = 0.0  # of calls giving a picture
  config.reward.extra.tool_accuracy = 0.0  # of exactly the required tools having succeeded
  config.reward.own = ()  # (file, weight) of terms of your own; see docs/own_term.md
  # Programs that check (offline), models behind addresses (remote), one in this process (local), or a file.
  config.reward.judges = 'offline'
  config.reward.cache = ''  # folder of remote verdicts, for runs to share; empty: the work folder's
  config.reward.remote = judges.remote()
  config.reward.local = judges.local()

  config.tools = ConfigDict()
  config.tools.max_calls = 10  # per response
  config.tools.cache = 1 << 30  # bytes of replies kept in the work folder
  config.tools.names = ('search', 'code', 'edit', 'diffusion')  # offered, in the prompt's order
  config.tools.diffusion = tools.painter()
  config.tools.code = ConfigDict()
  config.tools.code.workers = 2  # plots drawn at once
  config.tools.code.seconds = 10.0  # per plot
  config.tools.code.width = 3.2  # inches
  config.tools.code.height = 2.4  # inches
  config.tools.code.dpi = 60.0  # pixels per inch
  config.tools.code.font_size = 7.0  # points
  config.tools.code.tight = False  # cut to what is drawn: a second pass of drawing

  config.eval = ConfigDict()
  config.eval.tasks = 0  # the first so many; 0: all
  config.eval.samples = 4  # per task
  config.eval.batch = 100  # tasks rolled out together
  config.eval.every = 0  # steps; 0: only before the first and after the last

  config.sinks = ConfigDict()
  config.sinks.names = ('tensorboard', 'trace')  # views of the run: also wandb and trackio, if installed
  config.sinks.every = 10  # steps between those of which samples are shown; 0: only the first
  config.sinks.samples = 4  # shown then, of different prompts

  config.checkpoint = ConfigDict()
  config.checkpoint.every = 20  # steps
  config.checkpoint.keep = 2  # newest
  config.checkpoint.best = 1  # of those that were evaluated, by mean reward, kept besides
  config.checkpoint.replay = 0  # steps between two updates that are computed twice and compared; 0 for none
  return config
