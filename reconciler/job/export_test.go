package job

// ForTests are the parts of index sets that the tests compare with plain sets.
type ForTests = indexes

// ParseForTests reads a set.
func ParseForTests(text string, limit int) ForTests { return parseIndexes(text, limit) }

// WithForTests is the union with some indexes.
func WithForTests(s ForTests, more ...int) ForTests { return s.with(more...) }

// CommonForTests counts what two sets share.
func CommonForTests(a, b ForTests) int { return a.common(b) }

// MissingForTests are the first n indexes that a set lacks.
func MissingForTests(s ForTests, n, limit int) []int { return s.missing(n, limit) }

// TotalForTests and HasForTests ask a set.
func TotalForTests(s ForTests) int { return s.total() }

// HasForTests tells whether an index is in a set.
func HasForTests(s ForTests, index int) bool { return s.has(index) }
