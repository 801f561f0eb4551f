"""In a link: chanest's estimators inside the receivers of other packages."""
