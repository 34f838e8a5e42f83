// The equation of proxy-tuning over the tokens that were kept, for another alpha:
//
//   value(x) = w * base(x) + alpha * (expert(x) - w * anti_expert(x)),  and then the mask
//
// where each row is of log-probabilities. Of the tokens that were not kept two things are known.
// Their values are linear in alpha, so between two alphas of which the best tokens are known, none
// is above the line between the worst of the best there. And the logarithm of the sum of their
// exp is convex in alpha (Hölder), so it is never above the line between its own two ends: what is
// shown as a probability is never too large.
//
// Where the expert alone says how likely the end of the reply is, that is for the tokens that are
// no end; the ends have what the expert gives them, whatever alpha is, unless it is 0.

/** What would be said with another alpha: the winner, each kept token's log-probability, how far
 * the choice moved, and whether it is certain that none of the tokens left out would win. */
export function fuse(data, token, alpha) {
  const run = data.settings.alpha;
  const [values, ends] = apart(data, token, valuesAt(data, token, alpha), alpha);
  const line = lineAt(data, token, alpha);
  const decides = token.end_odds !== null && alpha !== 0;
  const logprobs = shares([...values], line.rest, decides ? -softplus(token.end_odds) : 0);
  for (const [id, logprob] of shares([...ends], -Infinity, -softplus(-token.end_odds)))
    logprobs.set(id, logprob);
  let winner = token.known[0][0];
  for (const [id, logprob] of logprobs) if (logprob > logprobs.get(winner)) winner = id;
  return {
    winner,
    logprobs,
    moved: alpha === run ? token.moved : movedBy(token, logprobs),
    isCertain: alpha === run || (values.get(winner) ?? Infinity) >= line.best,
  };
}

/** The values of the tokens that the equation is for, and of the ends where the expert decides. */
function apart(data, token, values, alpha) {
  const isEnd = (id) => token.end_odds !== null && alpha !== 0 && data.endings.includes(id);
  const [others, ends] = [new Map(), new Map()];
  for (const [id, value] of values) (isEnd(id) ? ends : others).set(id, value);
  return [others, ends];
}

/** Log-probabilities that, with the rest, sum to the exponential of `whole`. */
function shares(values, rest, whole) {
  const logSum = logAdd([...values.map(([, value]) => value), rest]);
  const share = (value) => (value === -Infinity ? value : value - logSum + whole);
  return new Map(values.map(([id, value]) => [id, share(value)]));
}

/** log(1 + exp(x)): with log-odds of an end, -softplus(odds) is the logarithm of no end. */
function softplus(x) {
  return x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x));
}

/** The step of `moved`, 0 to the number of levels. */
export function levelOf(data, moved) {
  return data.levels.filter((level) => moved >= level).length;
}

function valuesAt(data, token, alpha) {
  const { base_weight: w, plausibility } = data.settings;
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
    { alpha: data.settings.alpha, best: token.best.fused.map(([id]) => id), rest: token.log_rest },
    { alpha: token.far.alpha, best: token.far.best, rest: token.far.log_rest },
    { alpha: 0, best: base.map(([id]) => id), rest: token.base_rest },
  ];
  for (const end of ends) {
    const values = valuesAt(data, token, end.alpha);
    end.rest ??= -Infinity; // nothing is left
    // Fewer than were asked for: the mask has left no others.
    const isAll = end.best.length < full;
    const others = end.best.filter((id) => apart(data, token, values, end.alpha)[0].has(id));
    end.worst = isAll || !others.length ? -Infinity : values.get(others.at(-1)) ?? Infinity;
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
