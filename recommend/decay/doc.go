// Package decay is exponential decay that is bit for bit the same on every
// machine and in every order of arrival.
//
// A weight w of time u is worth w·2^(-(t-u)/H) at time t, where H is the
// half-life. Multiplied by 2^(t/H), which is the same for everything that is
// compared at time t, that is w·2^(u/H): a weight that grows with the time of
// what it counts and never changes afterwards. Sums of such growing weights
// are what this package keeps (forward decay: Cormode, Shkapenyuk,
// Srivastava, Xu, "Forward Decay: A Practical Time Decay Model for Streaming
// Systems", ICDE 2009). Nothing has to be decayed as time passes, two sums of
// the same half-life compare as they would at any common moment, and a late
// weight simply counts less.
//
// Powers of two with fractional exponents are products of precomputed
// constants in 64-bit fixed point (Exp2), not of math.Exp2, whose last bit
// depends on the machine. Only Value.At, which is for display, uses floating
// point functions.
//
// A Sum adds integers, so it commutes exactly; see there for how old weights
// leave it without the order of arrival being seen.
package decay
