package webhook

// For the tests of this package.
var (
	Read     = read
	Endpoint = endpoint
	Refusal  = refusal
)
