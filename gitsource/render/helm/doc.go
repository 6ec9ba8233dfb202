// Package helm renders charts with Helm's own engine, in process, from files in
// memory: it touches neither the network nor the disk, and runs no plug-in and
// no post-renderer.
//
// A render depends on nothing but its input, so that the same commit gives the
// same objects again:
//
//   - "now" is the time of the commit
//   - randAlphaNum, its siblings and uuidv4 are derived from the cluster's key, the
//     release, the template and the calls before in it: nobody can guess them,
//     and the next render gives them again
//   - what makes keys, certificates, salted hashes or small numbers differently at
//     each call is refused
//
// Templates are bounded: loops and definitions count their rounds and look at
// the clock and at memory, results and archives have a size that they may have.
// What "tpl" is given at run time is bounded by the clock alone.
package helm
