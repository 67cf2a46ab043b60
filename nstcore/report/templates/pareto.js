// The Pareto front of points of which both numbers had better be small.

// Indices of the points that no other beats, by their first number, and which of them is the knee:
// with both numbers scaled so that the front's ends are (0, 1) and (1, 0), the point farthest below
// the line between them.  Of equal points the first stays.  The same as nstcore.results.select_refined.pareto_front.
function paretoFront(points) {
  const order = points.map((_, n) => n).filter((n) => Number.isFinite(points[n][0]) && Number.isFinite(points[n][1]));
  order.sort((a, b) => points[a][0] - points[b][0] || points[a][1] - points[b][1] || a - b);
  const front = [];
  for (const n of order) {
    // Sorted by the first number: whatever comes later has to be better in the second.
    if (!front.length || points[n][1] < points[front[front.length - 1]][1]) front.push(n);
  }
  if (!front.length) return { front, knee: null };
  const [left, top] = points[front[0]];
  const [right, bottom] = points[front[front.length - 1]];
  const below = (n) => (points[n][0] - left) / (right - left || 1) + (points[n][1] - bottom) / (top - bottom || 1);
  const knee = front.reduce((best, n) => (below(n) < below(best) || (below(n) === below(best) && n < best) ? n : best));
  return { front, knee };
}
