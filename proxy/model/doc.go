// Package model turns Services and EndpointSlices into what a service proxy
// needs: one ServicePort for every port of every Service, with the endpoints
// that traffic may go to from this node. It is a pure function of the API
// objects.
package model
