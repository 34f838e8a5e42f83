// The equation of proxy-tuning over the tokens that were kept, for another alpha:
//
//   value(x) = w * base(x) + alpha * (expert(x) - w * anti_expert(x)),  and then the mask
//
// where each row is of log-probabilities. Of the tokens that were not kept two things are known.
// Their values are linear in alpha, so between two alphas of which the best tokens are known, none
// is above the line between the worst of the best there. And the logarithm of the sum of their
// exp is convex in alpha (Hölder), so it is never above the line between its own two ends: what is
// shown as a probability is never too large.

/** What would be said with another alpha: the winner, each kept token's log-probability, how far
 * the choice moved, and whether it is certain that none of the tokens left out would win. */
export function fuse(data, token, alpha) {
  const run = data.settings.alpha;
  const at = alpha * factorOf(data, token);
  const values = valuesAt(data, token, at);
  let winner = token.known[0][0];
  for (const [id, value] of values) if (value > values.get(winner)) winner = id;
  const line = lineAt(data, token, at);
  const logSum = logAdd([...values.values(), line.rest]);
  const logprobs = new Map([...values].map(([id, value]) => [id, value - logSum]));
  return {
    winner,
    logprobs,
    moved: alpha === run ? token.moved : movedBy(token, logprobs),
    isCertain: alpha === run || values.get(winner) >= line.best,
  };
}

/** The step of `moved`, 0 to the number of levels. */
export function levelOf(data, moved) {
  return data.levels.filter((level) => moved >= level).length;
}

/** What a policy made of the alpha asked for, and would make of another one. */
function factorOf(data, token) {
  return data.settings.alpha ? token.alpha / data.settings.alpha : 1;
}

function valuesAt(data, token, alpha) {
  const { plausibility } = data.settings;
  const w = token.base_weight;
  const least =
    plausibility > 0 && alpha !== 0
      ? token.best.expert[0][1] + Math.log(plausibility)
      : -Infinity;
  return new Map(
    token.known.map(([id, base, expert, anti]) => [
      id,
      expert < least ? -Infinity : w * base + alpha * (expert - w * anti),
    ]),
  );
}

/** The alphas of which the best tokens and the sum over all are known, in order. */
function endsOf(data, token) {
  const base = token.best.base;
  const full = base.length;
  const ends = [
    { alpha: token.alpha, best: token.best.fused.map(([id]) => id), rest: token.log_rest },
    { alpha: token.far.alpha, best: token.far.best, rest: token.far.log_rest },
    { alpha: 0, best: base.map(([id]) => id), rest: token.base_rest },
  ];
  for (const end of ends) {
    const values = valuesAt(data, token, end.alpha);
    end.rest ??= -Infinity; // nothing is left
    // Fewer than were asked for: the mask has left no others.
    end.worst = end.best.length < full ? -Infinity : values.get(end.best.at(-1)) ?? Infinity;
  }
  return ends.sort((one, other) => one.alpha - other.alpha);
}

/** What no token left out is above, and their sum, at an alpha. */
function lineAt(data, token, alpha) {
  const ends = endsOf(data, token);
  const high = ends.find((end) => end.alpha >= alpha) ?? ends.at(-1);
  const low = ends.findLast((end) => end.alpha <= alpha) ?? ends[0];
  const isBetween = low.alpha <= alpha && alpha <= high.alpha;
  const share = high.alpha > low.alpha ? (alpha - low.alpha) / (high.alpha - low.alpha) : 0;
  const between = (a, b) => {
    if (share === 0) return a;
    if (share === 1) return b;
    // Where the mask leaves nothing at one end it leaves nothing between.
    return a === -Infinity || b === -Infinity ? -Infinity : a + share * (b - a);
  };
  return {
    rest: between(low.rest, high.rest),
    best: isBetween ? between(low.worst, high.worst) : Infinity,
  };
}

/** The total variation from the base's row, of the tokens left out as if they were one. */
function movedBy(token, logprobs) {
  let apart = 0;
  let [rest, restOfBase] = [1, 1];
  for (const [id, base] of token.known) {
    const [p, q] = [Math.exp(logprobs.get(id)), Math.exp(base)];
    apart += Math.abs(p - q);
    rest -= p;
    restOfBase -= q;
  }
  return (apart + Math.abs(rest - restOfBase)) / 2;
}

function logAdd(values) {
  const largest = Math.max(...values);
  return largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
}
