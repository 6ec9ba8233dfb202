package kinds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// selectorQuery writes a selector as a query, as Scale's status.selector wants
// it; empty for one that does not parse, which validation never lets in.
func selectorQuery(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return selector.String()
}
