// Package admission has the steps that every write passes between
// authorization and storage. Each step is one file and reads nothing but a
// View and the request. Steps gives them in their order.
package admission
