package kinds

import (
	"errors"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// fieldErrors is what is wrong with an object, field by field.
type fieldErrors = field.ErrorList

const (
	isNegative = "must be greater than or equal to 0"
	immutable  = "field is immutable"
)

// errModified is Kubernetes' sentence about a stale resourceVersion.
var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")
