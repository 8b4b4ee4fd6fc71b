# The centroid of each cultivar, in units of each measurement's spread. The model
# is a table: a row of means and one of spreads over all wines, then one row a
# cultivar with its centroid.
BEGIN { FS = OFS = "," }
NR == 1 { next }
{
  for (i = 1; i < NF; i++) { sum[i] += $i; square[i] += $i * $i; own[$NF, i] += $i }
  count[$NF]++
  n++
  fields = NF - 1
}
END {
  for (i = 1; i <= fields; i++) {
    mean[i] = sum[i] / n
    spread[i] = sqrt(square[i] / n - mean[i] * mean[i])
    means = means OFS sprintf("%.6f", mean[i])
    spreads = spreads OFS sprintf("%.6f", spread[i])
  }
  print "mean" means
  print "spread" spreads
  for (c = 0; c in count; c++) {
    row = c
    for (i = 1; i <= fields; i++) row = row OFS sprintf("%.6f", (own[c, i] / count[c] - mean[i]) / spread[i])
    print row
  }
}
